import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { GraphQLError, type ExecutionArgs } from "graphql";
import { CloseCode, GRAPHQL_TRANSPORT_WS_PROTOCOL, handleProtocols, makeServer } from "graphql-ws";
import { WebSocketServer, type WebSocket } from "ws";
import { isPublic, newId, type Caller, type Logger } from "@toolyard/service-kit";
import type { Executor, GraphRequest } from "../execution/executor.ts";
import type { OperationContext } from "../execution/subgraph-client.ts";
import { createSocketWriter, type SocketWriter } from "./socket-writer.ts";
import { createSubscriptionEngine, type SubscriptionEngine } from "./subscription-engine.ts";

export interface GraphqlTransportWsOptions {
  executor: Pick<Executor, "inspect" | "execute" | "subscribe">;
  /** Shared with other protocols; its own when left out. */
  engine?: SubscriptionEngine;
  /**
   * Who is at the other end, from the payload of `connection_init` and the upgrade request.
   * @throws ToolyardError when the credential is not good; its message is the reason of the close
   */
  authenticate(connectionParams: Readonly<Record<string, unknown>>, request: IncomingMessage): Promise<Caller> | Caller;
  /** What goes with every operation to the subgraphs; the caller alone when left out. */
  contextOf?(caller: Caller, request: IncomingMessage): OperationContext;
  log: Pick<Logger, "error" | "debug">;
  heartbeatMs?: number;
  /** How long a client may take to send `connection_init`. */
  initTimeoutMs?: number;
  maxMessageBytes?: number;
  maxOperationsPerSocket?: number;
  now?: () => number;
}

export interface GraphqlTransportWs {
  /** The `Sec-WebSocket-Protocol` it speaks. */
  readonly protocol: string;
  readonly openSockets: number;
  /** Subscriptions that run now. */
  activeSubscriptions(): number;
  /** Events thrown away since the start because clients read too slowly. */
  droppedEvents(): number;
  /** Takes over a connection that asked to be upgraded. Host and Origin have been checked before. */
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** Closes the sockets of callers that may not stay, as when their credential was revoked. */
  closeSockets(isConcerned: (caller: Caller) => boolean, reason: string): void;
  /** Closes all sockets with 1001 and waits until they are closed, `timeoutMs` at most. */
  close(timeoutMs?: number): Promise<void>;
}

interface Connection {
  socket: WebSocket;
  request: IncomingMessage;
  caller: Caller | null;
  /** Aborted when the socket is closed. */
  closed: AbortController;
  isAlive: boolean;
  expiry: NodeJS.Timeout | undefined;
}

/** The longest delay that a Node timer takes. */
const longestDelayMs = 2 ** 31 - 1;

/**
 * The protocol `graphql-transport-ws` (https://github.com/graphql/graphql-over-http, `PROTOCOL.md` of graphql-ws): queries, mutations
 * and subscriptions over one socket. A refused or expired credential closes it with 4403, which clients take as "try again with
 * another"; an operation before `connection_init` with 4401; a shutdown with 1001.
 */
export function createGraphqlTransportWs(options: GraphqlTransportWsOptions): GraphqlTransportWs {
  const { executor, authenticate, log, now = Date.now, engine = createSubscriptionEngine({ executor }) } = options;
  const { contextOf = (caller: Caller): OperationContext => ({ caller, requestId: newId() }) } = options;
  const {
    heartbeatMs = 12_000,
    initTimeoutMs = 5_000,
    maxMessageBytes = 1_048_576,
    maxOperationsPerSocket = 100,
  } = options;
  const connections = new Set<Connection>();
  const sockets = new WebSocketServer({ noServer: true, handleProtocols, maxPayload: maxMessageBytes });

  const server = makeServer<Record<string, unknown>, Connection>({
    connectionInitWaitTimeout: initTimeoutMs,
    async onConnect({ connectionParams, extra: connection }) {
      try {
        connection.caller = await authenticate(connectionParams ?? {}, connection.request);
      } catch (error) {
        if (!isPublic(error)) log.error({ err: error }, "authenticating a socket failed");
        if (!isPublic(error)) connection.socket.close(CloseCode.InternalServerError, "Internal server error");
        else connection.socket.close(CloseCode.Forbidden, closeReason(error.message));
        return false;
      }
      scheduleExpiry(connection);
      return true;
    },
    onSubscribe({ extra: connection, subscriptions }, _id, { query, operationName, variables }) {
      const { caller, closed } = connection;
      if (!caller) throw new Error("An operation came before its caller was known.");
      if (Object.keys(subscriptions).length > maxOperationsPerSocket) {
        const message = `At most ${maxOperationsPerSocket} operations may run on one socket.`;
        return [new GraphQLError(message, { extensions: { code: "RATE_LIMITED" } })];
      }
      const context = contextOf(caller, connection.request);
      const request: GraphRequest = { query, operationName, variables, context, signal: closed.signal };
      const inspected = executor.inspect(request);
      if ("errors" in inspected) return inspected.errors;
      return {
        schema: inspected.schema,
        document: inspected.document,
        operationName: operationName ?? null,
        contextValue: request,
      };
    },
    execute: (args) => executor.execute(requestOf(args)),
    subscribe: (args) => engine.subscribe(requestOf(args)),
  });

  function scheduleExpiry(connection: Connection): void {
    const expiresAt = connection.caller?.expiresAt ?? null;
    if (expiresAt === null) return;
    const leftMs = expiresAt - now();
    const wait = Math.min(Math.max(leftMs, 0), longestDelayMs);
    connection.expiry = setTimeout(() => {
      if (leftMs > longestDelayMs) scheduleExpiry(connection);
      else connection.socket.close(CloseCode.Forbidden, "The credential expired: connect again with a new one");
    }, wait);
    connection.expiry.unref();
  }

  function open(socket: WebSocket, request: IncomingMessage, writer: SocketWriter): void {
    const connection: Connection = {
      socket,
      request,
      caller: null,
      closed: new AbortController(),
      isAlive: true,
      expiry: undefined,
    };
    connections.add(connection);
    const closed = server.opened(
      {
        protocol: socket.protocol,
        send: (data) => writer.send(data),
        close: (code, reason) => socket.close(code, reason),
        onMessage: (handle) => {
          socket.on("message", (data: Buffer) => {
            handle(data.toString("utf8")).catch((error: unknown) => {
              if (connection.closed.signal.aborted) return;
              log.error({ err: error }, "an operation on a socket failed");
              socket.close(CloseCode.InternalServerError, "Internal server error");
            });
          });
        },
      },
      connection,
    );
    socket.on("pong", () => {
      connection.isAlive = true;
    });
    socket.on("error", (error) => log.debug({ err: error }, "a socket failed"));
    socket.once("close", (code, reason) => {
      connections.delete(connection);
      clearTimeout(connection.expiry);
      connection.closed.abort();
      closed(code, reason.toString("utf8")).catch((error: unknown) => {
        log.error({ err: error }, "ending a socket's operations failed");
      });
      if (connections.size === 0) stopHeartbeat();
    });
    startHeartbeat();
  }

  let heartbeat: NodeJS.Timeout | undefined;
  function startHeartbeat(): void {
    if (heartbeat) return;
    heartbeat = setInterval(() => {
      for (const connection of connections) {
        if (!connection.isAlive) {
          connection.socket.terminate();
          continue;
        }
        connection.isAlive = false;
        if (connection.socket.readyState === connection.socket.OPEN) connection.socket.ping();
      }
    }, heartbeatMs);
    heartbeat.unref();
  }
  function stopHeartbeat(): void {
    clearInterval(heartbeat);
    heartbeat = undefined;
  }

  return {
    protocol: GRAPHQL_TRANSPORT_WS_PROTOCOL,
    get openSockets() {
      return connections.size;
    },
    activeSubscriptions: () => engine.activeStreams,
    droppedEvents: () => engine.droppedEvents,
    handleUpgrade(request, socket, head) {
      sockets.handleUpgrade(request, socket, head, (upgraded) =>
        open(upgraded, request, createSocketWriter(upgraded, socket)),
      );
    },
    closeSockets(isConcerned, reason) {
      for (const { caller, socket } of connections) {
        if (caller && isConcerned(caller)) socket.close(CloseCode.Forbidden, closeReason(reason));
      }
    },
    async close(timeoutMs = 2_000) {
      const open = [...connections].map(
        ({ socket }) =>
          new Promise<void>((resolve) => {
            const timer = setTimeout(() => socket.terminate(), timeoutMs);
            socket.once("close", () => {
              clearTimeout(timer);
              resolve();
            });
            socket.close(1001, "Going away");
          }),
      );
      await Promise.all(open);
      stopHeartbeat();
      sockets.close();
    },
  };
}

/** What `onSubscribe` put there. */
function requestOf(args: ExecutionArgs): GraphRequest {
  return args.contextValue as GraphRequest;
}

/** A close frame has room for 123 bytes of reason (RFC 6455, section 5.5). */
function closeReason(message: string): string {
  let reason = message;
  while (Buffer.byteLength(reason) > 123) reason = reason.slice(0, -1);
  return reason;
}
