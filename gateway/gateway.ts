import { setTimeout as delay } from "node:timers/promises";
import {
  CALLER_HEADER,
  createCallerHeaderVerifier,
  createRevocationList,
  createServiceCaller,
  createTokenSigner,
  createTokenVerifier,
  type GraphClient,
  type Logger,
  type ServiceHealth,
} from "@toolyard/service-kit";
import { createAuthenticator, type Introspection } from "./authentication.ts";
import type { GatewayConfig } from "./config.ts";
import { createApolloGateway } from "./execution/apollo-gateway.ts";
import { createExecutor } from "./execution/executor.ts";
import type { OperationContext, SubgraphClient } from "./execution/subgraph-client.ts";
import { createExecutorGraphClient } from "./graph-client.ts";
import { checkHealth, type HealthReport } from "./health.ts";
import { createGatewayServer, type GatewayServer } from "./http-server.ts";
import { createGatewayMetrics } from "./metrics.ts";
import { createGraphqlTransportWs } from "./subscriptions/graphql-transport-ws.ts";

export interface GatewayOptions {
  config: GatewayConfig;
  supergraphSdl: string;
  /** One for each subgraph; closed by the gateway. */
  clients: readonly SubgraphClient[];
  /** Current first. */
  secretKeys: readonly string[];
  healthChecks: readonly (() => Promise<ServiceHealth[]>)[];
  /** What an operator should know, shown in /health. */
  notes?: readonly string[];
  gauges: () => Promise<Record<string, number>>;
  logger: Logger;
}

export interface Gateway {
  /** The graph for parts in this process. */
  graph: GraphClient;
  health(): Promise<HealthReport>;
  /** Follows revocations, then listens. */
  listen(): Promise<GatewayServer>;
  close(): Promise<void>;
}

const REVOCATIONS =
  "subscription Revocations($after: String) { credentialsRevoked(after: $after) { sequence at tokenId apiKeyId userId } }";
const INTROSPECT =
  "query Introspect($credential: String!) { introspectCredential(credential: $credential) { active subject role scopes expiresAt apiKeyId tokenId issuedAt } }";

/** The gateway without a process around it: hosted by gateway/main.ts and by standalone.ts. */
export function createGateway(options: GatewayOptions): Gateway {
  const { config, supergraphSdl, clients, secretKeys, healthChecks, notes = [], gauges, logger } = options;
  const [secretKey = "", ...previousSecretKeys] = secretKeys;
  const executor = createExecutor({ supergraphSdl, clients, log: logger });
  const graph = createExecutorGraphClient(executor);
  const signer = createTokenSigner({ secretKey, previousSecretKeys });
  const self = createServiceCaller("gateway", ["internal:introspect", "internal:revocations"]);
  const stopping = new AbortController();
  let server: GatewayServer | null = null;
  let following: Promise<void> = Promise.resolve();

  const authenticator = createAuthenticator({
    verifier: createTokenVerifier({ keys: { secretKeys } }),
    verifyCallerHeader: createCallerHeaderVerifier({ secretKeys }),
    revocations: createRevocationList(),
    introspect: async (credential) => {
      type Times = "expiresAt" | "issuedAt";
      type Answer = { introspectCredential: Omit<Introspection, Times> & Record<Times, string | null> };
      const { introspectCredential: found } = await graph.query<Answer>({
        query: INTROSPECT,
        variables: { credential },
        as: self,
      });
      const time = (text: string | null) => (text === null ? null : Date.parse(text));
      return { ...found, expiresAt: time(found.expiresAt), issuedAt: time(found.issuedAt) };
    },
  });

  /** Learns of revocations for as long as the gateway runs; where the stream breaks, it goes on from the last one. */
  async function followRevocations(): Promise<void> {
    type Event = {
      credentialsRevoked: {
        sequence: string;
        at: string;
        tokenId: string | null;
        apiKeyId: string | null;
        userId: string | null;
      };
    };
    let after = "0";
    while (!stopping.signal.aborted) {
      try {
        for await (const event of graph.subscribe<Event>({
          query: REVOCATIONS,
          variables: { after },
          as: self,
          signal: stopping.signal,
        })) {
          const { sequence, at, ...ids } = event.credentialsRevoked;
          after = sequence;
          authenticator.revoke({ at: Date.parse(at), ...ids });
        }
      } catch (error) {
        if (!stopping.signal.aborted)
          logger.warn({ err: error }, "the stream of revocations broke; it is opened again");
      }
      await delay(500, undefined, { signal: stopping.signal }).catch(() => undefined); // aborted: the loop ends
    }
  }

  const sockets = createGraphqlTransportWs({
    executor,
    authenticate: async (connectionParams, request) => {
      const signed = connectionParams[CALLER_HEADER] ?? request.headers[CALLER_HEADER];
      if (typeof signed === "string") return authenticator.authenticateHeader(signed);
      const given = connectionParams.authorization ?? connectionParams.Authorization ?? request.headers.authorization;
      return authenticator.authenticate(typeof given === "string" ? given : undefined);
    },
    log: logger,
  });

  const stopClosing = authenticator.onRevoked((isConcerned) =>
    sockets.closeSockets(isConcerned, "The credential was revoked: log in again"),
  );
  const metrics = createGatewayMetrics({ gauges, subscriptions: () => sockets.activeSubscriptions() });
  const health = () => checkHealth({ checks: healthChecks, notes });

  return {
    graph,
    health,
    async listen() {
      following = followRevocations();
      server = await createGatewayServer({
        host: config.host,
        port: config.port,
        corsOrigins: config.corsOrigins,
        allowedHosts: config.allowedHosts,
        introspection: config.introspection,
        gateway: createApolloGateway<OperationContext>({ executor, contextOf: (context) => context }),
        executeInternal: (request) => executor.execute(request),
        handleUpgrade: (request, socket, head) => sockets.handleUpgrade(request, socket, head),
        authenticator,
        health,
        metrics,
        jwks: () => signer.jwks(),
        logger,
      });
      return server;
    },
    async close() {
      stopping.abort();
      stopClosing();
      await sockets.close();
      await server?.close();
      await following;
      await Promise.all(clients.map((client) => client.close()));
    },
  };
}
