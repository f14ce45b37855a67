import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { Caller, Logger } from "@toolyard/service-kit";
import type { Executor } from "../execution/executor.ts";
import type { OperationContext } from "../execution/clients/subgraph-client.ts";
import { createTypeChooser, EVENT_STREAM } from "../formats/media-types.ts";
import { createGraphqlSse } from "./graphql-sse.ts";
import { graphqlTransportWs } from "./graphql-transport-ws.ts";
import type { HttpExchange, RequestHead } from "./http-exchange.ts";
import { createHttpCallback } from "./http-callback.ts";
import { createMultipart } from "./multipart.ts";
import type { SubscriptionEngine } from "./subscription-engine.ts";
import { createSocketConnections } from "./socket-connections.ts";
import { subscriptionsTransportWs } from "./subscriptions-transport-ws.ts";

export interface SubscriptionProtocolsOptions {
  executor: Pick<Executor, "inspect" | "execute" | "subscribe">;
  engine: SubscriptionEngine;
  /**
   * The caller, by the payload of a socket's first message (empty for the protocols over HTTP) and the request.
   * @throws ToolyardError when the credential is not valid
   */
  authenticate(connectionParams: Readonly<Record<string, unknown>>, request: RequestHead): Promise<Caller>;
  /** The same, but an anonymous caller where the credential is invalid: it may still log in; `executor.inspect` refuses everything else. */
  identify(connectionParams: Readonly<Record<string, unknown>>, request: RequestHead): Promise<Caller>;
  /** The context that goes with every operation to the subgraphs. */
  contextOf(caller: Caller, request: RequestHead): OperationContext;
  /** Hosts of the HTTP callback protocol; none turns it off. */
  callbackHosts?: readonly string[];
  /** The longest message of a socket whose caller is not known, or not known yet. */
  maxAnonymousMessageBytes?: number;
  log: Pick<Logger, "error" | "debug">;
  heartbeatMs?: number;
}

/** All protocols of subscriptions over one engine, as the gateway's server sees them. */
export interface SubscriptionProtocols {
  /** Takes over a WebSocket upgrade of /graphql, in the protocol that the client offers. */
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** A request of /graphql. @returns false, with nothing answered, for an ordinary request; `found` then has its inspection */
  handleOperation(exchange: HttpExchange): Promise<boolean>;
  /** A request of /graphql/stream. */
  handleStream(exchange: HttpExchange): Promise<void>;
  readonly openStreams: number;
  /** Ends the streams of callers whose credential was revoked. */
  endWhere(isConcerned: (caller: Caller) => boolean, message: string): void;
  /** Ends everything and waits until it is closed, `timeoutMs` at most. */
  close(timeoutMs?: number): Promise<void>;
}

export function createSubscriptionProtocols(options: SubscriptionProtocolsOptions): SubscriptionProtocols {
  const { executor, engine, authenticate, identify, contextOf, callbackHosts = [], log, heartbeatMs } = options;
  const { maxAnonymousMessageBytes } = options;
  const ports = { executor, engine, log, ...(heartbeatMs !== undefined && { heartbeatMs }) };
  const overHttp = {
    ...ports,
    authenticate: (request: IncomingMessage) => authenticate({}, request),
    identify: (request: IncomingMessage) => identify({}, request),
    contextOf: (caller: Caller, { request, requestId }: Pick<HttpExchange, "request" | "requestId">) => ({
      ...contextOf(caller, request),
      requestId,
    }),
  };
  const overSockets = {
    ...ports,
    authenticate: identify,
    contextOf: (caller: Caller, request: RequestHead) =>
      Object.assign(contextOf(caller, request), { isOnSocket: true }),
    ...(maxAnonymousMessageBytes !== undefined && { maxAnonymousMessageBytes }),
  };
  // When a client offers several, the first of these is spoken.
  const overSocket = [graphqlTransportWs, subscriptionsTransportWs].map((protocol) =>
    createSocketConnections(protocol, overSockets),
  );
  const sse = createGraphqlSse(overHttp);
  const multipart = createMultipart(overHttp);
  const callback = createHttpCallback({
    ...overHttp,
    allowedHosts: callbackHosts,
    ...(heartbeatMs !== undefined && { minHeartbeatMs: heartbeatMs }),
  });
  const chooseType = createTypeChooser();
  const all = [...overSocket, sse, multipart, callback];

  return {
    handleUpgrade(request, socket, head) {
      const offered = (request.headers["sec-websocket-protocol"] ?? "").split(",").map((name) => name.trim());
      const spoken = overSocket.find(({ protocol }) => offered.includes(protocol)) ?? overSocket[0];
      spoken?.handleUpgrade(request, socket, head);
    },
    async handleOperation(exchange) {
      const { result, stream } = chooseType(exchange.request.headers.accept);
      if (stream === "multipart/mixed" && (await multipart.handle(exchange))) return true;
      if (result === EVENT_STREAM) await sse.handleDistinct(exchange);
      else if (stream === EVENT_STREAM) return sse.handleSubscription(exchange);
      else if (stream === null && callback.accepts(exchange)) await callback.handle(exchange);
      else return false;
      return true;
    },
    handleStream: (exchange) => sse.handle(exchange),
    get openStreams() {
      return all.reduce((sum, { openStreams }) => sum + openStreams, 0);
    },
    endWhere(isConcerned, message) {
      for (const protocol of all) protocol.endWhere(isConcerned, message);
    },
    async close(timeoutMs) {
      await Promise.all(all.map((protocol) => protocol.close(timeoutMs)));
    },
  };
}
