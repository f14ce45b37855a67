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
import type { DeploymentLoad } from "../routing/demand.ts";
import { createRefusedRoutes } from "../routing/refused-routes.ts";
import { ROUTE_TABLE_SELECTION, parseRouteTable, type RouteTable } from "@toolyard/routes";

/** The control plane as the proxy needs it, over its GraphQL. Its absence is normal: every caller can go on without it. */
export interface ControlPlane {
  /** Its graph, as this proxy. */
  graph: GraphClient;
  /** Follows routes until closed, reconnecting whenever the stream breaks. */
  start(): void;
  connected(): boolean;
  /** The number of invalid routes, which are not used. */
  refusedRoutes(): number;
  /** @throws ToolyardError when it does not answer. */
  fetchKeys(): Promise<JSONWebKeySet>;
  /** The version of its table. @throws ToolyardError when it does not answer. */
  fetchRoutesVersion(): Promise<number>;
  /** @throws ToolyardError when it does not answer. */
  reportBusy(replicaIds: string[]): Promise<void>;
  /** @throws ToolyardError when it does not answer. */
  reportLoad(proxyId: string, loads: DeploymentLoad[]): Promise<void>;
  /** The last offer of the deployment's server; null where that is not of this hash. @throws ToolyardError when it does not answer. */
  fetchOffer(deploymentId: string, hash: string): Promise<unknown>;
  /**
   * @param batch JSON of a UsageBatchInput.
   * @returns The usage service's reason never to accept it; null: it was accepted.
   * @throws ToolyardError when it was not accepted now, also by a control plane of an earlier version, whose schema lacks a field.
   */
  recordUsage(batch: Buffer): Promise<string | null>;
  close(): Promise<void>;
}

export interface ControlPlaneOptions {
  /** Without a trailing slash. */
  gatewayUrl: string;
  credential: string;
  /** The whole table, in parts, or what has changed since `routesPosition`. */
  onRoutes: (table: RouteTable) => void;
  /** Asked at every connection. */
  routesPosition: () => string;
  /** Called at every connection, to ask again for data that may have changed meanwhile. */
  onConnected: () => void;
  logger: Logger;
}

const ROUTES = `subscription ($after: String!) { routesChanged(after: $after) ${ROUTE_TABLE_SELECTION} }`;
const RECORD = "mutation ($b: UsageBatchInput!) { recordUsage(batch: $b) }";

const REPORT_BUSY = "mutation ($ids: [ID!]!) { reportBusyReplicas(replicaIds: $ids) }";

const REPORT_LOAD = "mutation ($id: ID!, $loads: [DeploymentLoadInput!]!) { reportLoad(proxyId: $id, loads: $loads) }";
const ROUTES_VERSION = "query { routesVersion }";
const OFFER = "query ($id: ID!, $hash: String!) { offer(deploymentId: $id, hash: $hash) }";
const ASK_MS = 3_000;
const RECORD_MS = 15_000;

const routesEvent = z.object({ routesChanged: z.unknown() });
const keySet = z.object({ keys: z.array(z.looseObject({ kty: z.string(), kid: z.string() })) });

/** The identity by PROXY_CREDENTIAL. */
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
    // An unreadable change may be the one that matters: it ends the stream, and is asked for again.
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
      if (!answer.success) throw new ToolyardError("UPSTREAM_UNAVAILABLE", "The control plane's answer holds no keys.");
      return answer.data;
    },
    async fetchRoutesVersion() {
      const signal = AbortSignal.timeout(ASK_MS);
      const { routesVersion } = await graph.query<{ routesVersion: string }>({
        query: ROUTES_VERSION,
        as: proxyCaller,
        signal,
      });
      return Number(routesVersion);
    },
    async reportBusy(ids) {
      await graph.query({
        query: REPORT_BUSY,
        variables: { ids },
        as: proxyCaller,
        signal: AbortSignal.timeout(ASK_MS),
      });
    },
    async reportLoad(id, loads) {
      await graph.query({
        query: REPORT_LOAD,
        variables: { id, loads },
        as: proxyCaller,
        signal: AbortSignal.timeout(ASK_MS),
      });
    },
    async fetchOffer(id, hash) {
      const signal = AbortSignal.timeout(ASK_MS);
      const { offer } = await graph.query<{ offer: unknown }>({
        query: OFFER,
        variables: { id, hash },
        as: proxyCaller,
        signal,
      });
      return offer;
    },
    async recordUsage(batch) {
      const head = Buffer.from(`{"query":${JSON.stringify(RECORD)},"variables":{"b":`);
      const operation = Buffer.concat([head, batch, Buffer.from("}}")]);
      const { errors } = await graph.post(operation, { as: proxyCaller, signal: AbortSignal.timeout(RECORD_MS) });
      if (!errors) return null;
      const error = errorOfAnswer(errors);
      // A service's refusal names its problems. That of a schema that does not know a field does not.
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
