import { setTimeout as delay } from "node:timers/promises";
import { ToolyardError, messageOf, type CredentialRevocation, type Logger } from "@toolyard/service-kit";
import { prefixOf } from "@toolyard/service-kit/process/config.ts";
import { errorOfAnswer } from "@toolyard/service-kit/graph/http-graph-client.ts";
import { createClient } from "graphql-ws";
import type { JSONWebKeySet } from "jose";
import { Pool } from "undici";
import { WebSocket } from "ws";
import { z } from "zod";
import type { Introspection } from "@toolyard/identity-client";
import { createRefusedRoutes } from "../routing/refused-routes.ts";
import { ROUTE_TABLE_SELECTION, parseRouteTable, type RouteTable } from "@toolyard/routes";

/** The control plane as the proxy needs it, over its GraphQL. Away is normal: every caller has something to go on with. */
export interface ControlPlane {
  /** Follows routes and revocations until closed, over whatever breaks. */
  start(): void;
  connected(): boolean;
  /** Routes that are not as agreed, and so are not used. */
  refusedRoutes(): number;
  /** @throws ToolyardError when it does not answer. */
  introspect(credential: string): Promise<Introspection>;
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
  onRevocation: (revocation: CredentialRevocation) => void;
  /** At every connection: what may have changed meanwhile can be asked again. */
  onConnected: () => void;
  logger: Logger;
}

const ROUTES = `subscription ($after: String!) { routesChanged(after: $after) ${ROUTE_TABLE_SELECTION} }`;
const REVOCATIONS =
  "subscription ($after: String) { credentialsRevoked(after: $after) { sequence at tokenId apiKeyId userId } }";
const INTROSPECT =
  "query ($c: String!) { introspectCredential(credential: $c) { active subject role scopes expiresAt } }";
const RECORD = "mutation ($b: UsageBatchInput!) { recordUsage(batch: $b) }";

const REPORT_BUSY = "mutation ($ids: [ID!]!) { reportBusyReplicas(replicaIds: $ids) }";

const FIRST_WAIT_MS = 100;
const LAST_WAIT_MS = 5_000;
const PING_MS = 10_000;
const PONG_MS = 5_000;
const ASK_MS = 3_000;
const RECORD_MS = 15_000;

const routesEvent = z.object({ routesChanged: z.unknown() });
const revocationEvent = z.object({
  credentialsRevoked: z.object({
    sequence: z.string(),
    at: z.string(),
    tokenId: z.string().nullable(),
    apiKeyId: z.string().nullable(),
    userId: z.string().nullable(),
  }),
});
const introspection = z.object({
  introspectCredential: z.object({
    active: z.boolean(),
    subject: z.string().nullable(),
    role: z.enum(["ADMIN", "DEVELOPER", "VIEWER"]).nullable(),
    scopes: z.array(z.enum(["READ", "WRITE", "INVOKE", "ADMIN"])),
    expiresAt: z.string().nullable(),
  }),
});
const keySet = z.object({ keys: z.array(z.looseObject({ kty: z.string(), kid: z.string() })) });
const graphqlErrors = z
  .array(z.object({ message: z.string(), extensions: z.record(z.string(), z.unknown()).optional() }))
  .min(1);
const graphqlAnswer = z.object({ data: z.unknown().optional(), errors: graphqlErrors.optional() });

export function createControlPlane(options: ControlPlaneOptions): ControlPlane {
  const { gatewayUrl, credential, onRoutes, routesPosition, onRevocation, onConnected, logger } = options;
  const pool = new Pool(new URL(gatewayUrl).origin, { connections: 8 });
  const prefix = prefixOf(gatewayUrl);
  const stopping = new AbortController();
  const refusedRoutes = createRefusedRoutes({ logger });
  let connected = false;
  let following: Promise<unknown> = Promise.resolve();
  let pongDue: NodeJS.Timeout | undefined;
  const socket = createClient({
    url: `${gatewayUrl.replace(/^http/, "ws")}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${credential}` },
    // Each subscription goes on by itself, from where it was.
    retryAttempts: 0,
    keepAlive: PING_MS,
    on: {
      // A half-open connection says nothing: no pong in time is the end of it.
      ping: (received) => {
        if (!received) pongDue = setTimeout(() => socket.terminate(), PONG_MS).unref();
      },
      pong: (received) => {
        if (received) clearTimeout(pongDue);
      },
      closed: () => clearTimeout(pongDue),
    },
  });

  /** Subscribes again and again until closed; `variables` are asked for each time. */
  async function follow(
    name: string,
    query: string,
    variables: () => Record<string, unknown>,
    take: (data: unknown) => void,
    onFailure: (error: unknown) => void = () => undefined,
  ): Promise<void> {
    let waitMs = FIRST_WAIT_MS;
    let reported = false;
    while (!stopping.signal.aborted) {
      try {
        for await (const result of socket.iterate({ query, variables: variables() })) {
          const errors = graphqlErrors.safeParse(result.errors);
          if (errors.success) throw errorOfAnswer(errors.data);
          take(result.data);
          waitMs = FIRST_WAIT_MS;
          reported = false;
        }
      } catch (error) {
        const errors = graphqlErrors.safeParse(error);
        const known = errors.success ? errorOfAnswer(errors.data) : error;
        onFailure(known);
        // Once for each outage, not for each try.
        if (!reported && !stopping.signal.aborted) {
          logger.warn({ stream: name, reason: reasonOf(known) }, "the control plane is away; what is known goes on");
        }
        reported = true;
      }
      if (stopping.signal.aborted) return;
      await delay(waitMs * (0.5 + Math.random() / 2), undefined, { signal: stopping.signal }).catch(() => undefined); // aborted: the loop ends
      waitMs = Math.min(waitMs * 2, LAST_WAIT_MS);
    }
  }

  async function followRoutes(): Promise<void> {
    await follow(
      "routes",
      ROUTES,
      () => ({ after: routesPosition() }),
      (data) => {
        // What cannot be read may be the change that matters: it ends the stream, and is asked for again.
        const { table, refused } = parseRouteTable(routesEvent.parse(data).routesChanged);
        refusedRoutes.note(table, refused);
        if (!connected) {
          connected = true;
          onConnected();
          logger.info({ version: table.version }, "connected to the control plane");
        }
        onRoutes(table);
      },
      () => {
        connected = false;
      },
    );
  }

  async function followRevocations(): Promise<void> {
    let after = "0";
    await follow(
      "revocations",
      REVOCATIONS,
      () => ({ after }),
      (data) => {
        const { sequence, at, ...ids } = revocationEvent.parse(data).credentialsRevoked;
        after = sequence;
        onRevocation({ at: Date.parse(at), ...ids });
      },
      (error) => {
        // The log was trimmed: it says from where to start.
        const oldest = error instanceof ToolyardError ? error.extensions.oldestSequence : undefined;
        if (typeof oldest === "string") after = oldest;
      },
    );
  }

  async function request(path: string, body: string | Buffer | null, timeoutMs: number): Promise<unknown> {
    const deadline = AbortSignal.timeout(timeoutMs);
    try {
      const answer = await pool.request({
        path: prefix + path,
        method: body === null ? "GET" : "POST",
        headers: {
          authorization: `Bearer ${credential}`,
          ...(body !== null && { "content-type": "application/json" }),
        },
        body,
        signal: AbortSignal.any([deadline, stopping.signal]),
      });
      return await answer.body.json();
    } catch (cause) {
      throw new ToolyardError("UPSTREAM_UNAVAILABLE", `The control plane does not answer: ${messageOf(cause)}`, {
        cause,
      });
    }
  }

  async function ask(body: string | Buffer, timeoutMs: number): Promise<z.output<typeof graphqlAnswer>> {
    const answer = graphqlAnswer.safeParse(await request("/graphql", body, timeoutMs));
    if (!answer.success) throw new ToolyardError("UPSTREAM_UNAVAILABLE", "The control plane did not answer GraphQL.");
    return answer.data;
  }

  async function graphql(body: string | Buffer, timeoutMs: number): Promise<unknown> {
    const { data, errors } = await ask(body, timeoutMs);
    if (errors) throw errorOfAnswer(errors);
    return data;
  }

  return {
    start() {
      following = Promise.all([followRoutes(), followRevocations()]);
    },
    connected: () => connected,
    refusedRoutes: () => refusedRoutes.count(),
    async introspect(secret) {
      const data = await graphql(JSON.stringify({ query: INTROSPECT, variables: { c: secret } }), ASK_MS);
      const { expiresAt, ...found } = introspection.parse(data).introspectCredential;
      return { ...found, expiresAt: expiresAt === null ? null : Date.parse(expiresAt) };
    },
    async fetchKeys() {
      const answer = keySet.safeParse(await request("/.well-known/jwks.json", null, ASK_MS));
      if (!answer.success)
        throw new ToolyardError("UPSTREAM_UNAVAILABLE", "The control plane did not answer its keys.");
      return answer.data;
    },
    async reportBusy(ids) {
      await graphql(JSON.stringify({ query: REPORT_BUSY, variables: { ids } }), ASK_MS);
    },
    async recordUsage(batch) {
      const head = Buffer.from(`{"query":${JSON.stringify(RECORD)},"variables":{"b":`);
      const { errors } = await ask(Buffer.concat([head, batch, Buffer.from("}}")]), RECORD_MS);
      if (!errors) return null;
      const error = errorOfAnswer(errors);
      // Services name the problems of what they refuse. A schema that does not know a field does not.
      if (error.code === "BAD_USER_INPUT" && errors[0]?.extensions?.["problems"] !== undefined) return error.message;
      throw error;
    },
    async close() {
      stopping.abort();
      clearTimeout(pongDue);
      await socket.dispose();
      socket.terminate();
      await following;
      await pool.destroy();
    },
  };
}

/** What a broken socket is about: an error, or a WebSocket's close event. */
function reasonOf(error: unknown): string {
  if (error instanceof Object && "code" in error && "reason" in error) {
    return `closed with ${String(error.code)} ${String(error.reason)}`.trim();
  }
  return error instanceof Error ? messageOf(error) : "the connection failed";
}
