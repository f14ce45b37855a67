import {
  ToolyardError,
  createServiceCaller,
  PROXY_PERMISSIONS,
  type GraphClient,
  type Logger,
} from "@toolyard/service-kit";
import { follow } from "@toolyard/service-kit/graph/follow.ts";
import { createHttpGraphClient, errorOfAnswer } from "@toolyard/service-kit/graph/http-graph-client.ts";
import type { JSONWebKeySet } from "jose";
import { z } from "zod";
import { createRefusedRoutes } from "../routing/refused-routes.ts";
import { ROUTE_TABLE_SELECTION, parseRouteTable, type RouteTable } from "@toolyard/routes";

/** The control plane as the proxy needs it, over its GraphQL. Away is normal: every caller has something to go on with. */
export interface ControlPlane {
  /** Its graph, as this proxy. */
  graph: GraphClient;
  /** Follows routes until closed, over whatever breaks. */
  start(): void;
  connected(): boolean;
  /** Routes that are not as agreed, and so are not used. */
  refusedRoutes(): number;
  /** @throws ToolyardError when it does not answer. */
  fetchKeys(): Promise<JSONWebKeySet>;
  /** @throws ToolyardError when it does not answer. */
  reportBusy(replicaIds: string[]): Promise<void>;
  /**
   * @param batch JSON of a UsageBatchInput.
   * @returns Why it will never be taken, as the usage service says; null: it was taken.
   * @throws ToolyardError when it was not taken now, also by a control plane of an earlier version, whose schema knows less.
   */
  recordUsage(batch: Buffer): Promise<string | null>;
  close(): Promise<void>;
}

export interface ControlPlaneOptions {
  /** Without a slash at its end. */
  gatewayUrl: string;
  credential: string;
  /** The whole table, in parts, or what has changed since `routesPosition`. */
  onRoutes: (table: RouteTable) => void;
  /** Asked at every connection. */
  routesPosition: () => string;
  /** At every connection: what may have changed meanwhile can be asked again. */
  onConnected: () => void;
  logger: Logger;
}

const ROUTES = `subscription ($after: String!) { routesChanged(after: $after) ${ROUTE_TABLE_SELECTION} }`;
const RECORD = "mutation ($b: UsageBatchInput!) { recordUsage(batch: $b) }";

const REPORT_BUSY = "mutation ($ids: [ID!]!) { reportBusyReplicas(replicaIds: $ids) }";

const ASK_MS = 3_000;
const RECORD_MS = 15_000;

const routesEvent = z.object({ routesChanged: z.unknown() });
const keySet = z.object({ keys: z.array(z.looseObject({ kty: z.string(), kid: z.string() })) });

/** Who asks, by PROXY_CREDENTIAL. */
export const proxyCaller = createServiceCaller("proxy", PROXY_PERMISSIONS);

export function createControlPlane(options: ControlPlaneOptions): ControlPlane {
  const { gatewayUrl, credential, onRoutes, routesPosition, onConnected, logger } = options;
  const graph = createHttpGraphClient({ gatewayUrl, headersOf: () => ({ authorization: `Bearer ${credential}` }) });
  const stopping = new AbortController();
  const refusedRoutes = createRefusedRoutes({ logger });
  const { signal } = stopping;
  let connected = false;
  let following: Promise<void> = Promise.resolve();

  function takeRoutes(data: unknown): void {
    // What cannot be read may be the change that matters: it ends the stream, and is asked for again.
    const { table, refused } = parseRouteTable(routesEvent.parse(data).routesChanged);
    refusedRoutes.note(table, refused);
    if (!connected) {
      connected = true;
      onConnected();
      logger.info({ version: table.version }, "connected to the control plane");
    }
    onRoutes(table);
  }

  return {
    graph,
    start() {
      following = follow({
        name: "routes",
        open: () => graph.subscribe({ query: ROUTES, variables: { after: routesPosition() }, as: proxyCaller, signal }),
        take: takeRoutes,
        onBroken: () => {
          connected = false;
        },
        signal,
        logger,
      });
    },
    connected: () => connected,
    refusedRoutes: () => refusedRoutes.count(),
    async fetchKeys() {
      const answer = keySet.safeParse(await graph.get("/.well-known/jwks.json", AbortSignal.timeout(ASK_MS)));
      if (!answer.success)
        throw new ToolyardError("UPSTREAM_UNAVAILABLE", "The control plane did not answer its keys.");
      return answer.data;
    },
    async reportBusy(ids) {
      await graph.query({
        query: REPORT_BUSY,
        variables: { ids },
        as: proxyCaller,
        signal: AbortSignal.timeout(ASK_MS),
      });
    },
    async recordUsage(batch) {
      const head = Buffer.from(`{"query":${JSON.stringify(RECORD)},"variables":{"b":`);
      const operation = Buffer.concat([head, batch, Buffer.from("}}")]);
      const { errors } = await graph.post(operation, { as: proxyCaller, signal: AbortSignal.timeout(RECORD_MS) });
      if (!errors) return null;
      const error = errorOfAnswer(errors);
      // Services name the problems of what they refuse. A schema that does not know a field does not.
      if (error.code === "BAD_USER_INPUT" && errors[0]?.extensions?.["problems"] !== undefined) return error.message;
      throw error;
    },
    async close() {
      stopping.abort();
      await following;
      await graph.close();
    },
  };
}
