import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { GraphQLError, GraphQLFormattedError } from "graphql";
import {
  CloseCode,
  GRAPHQL_TRANSPORT_WS_PROTOCOL,
  handleProtocols,
  MessageType,
  parseMessage,
  type JSONMessageReviver,
  type Message,
  type SubscribeMessage,
} from "graphql-ws";
import { WebSocketServer, type WebSocket } from "ws";
import { anonymous, isPublic, newId, type Caller, type Logger, type ToolyardError } from "@toolyard/service-kit";
import { hasTooManyValues } from "@toolyard/service-kit/http/request-body.ts";
import { exactReviver } from "../execution/running/exact-json.ts";
import type { Executor } from "../execution/executor.ts";
import type { OperationContext } from "../execution/clients/subgraph-client.ts";
import { badCredentialOf } from "../admission/open-operations.ts";
import type { RequestHead } from "./http-exchange.ts";
import { createOpenStreams, STRANGER_MS } from "./open-streams.ts";
import { runOperation, type OperationRun } from "./operation-run.ts";
import { createResultTexts } from "./result-texts.ts";
import { closeReason, createSocketWriters, type SocketWriter } from "./socket-writer.ts";
import { createSubscriptionEngine, type SubscriptionEngine } from "./subscription-engine.ts";

export interface GraphqlTransportWsOptions {
  executor: Pick<Executor, "inspect" | "execute" | "subscribe">;
  /** Shared with other protocols; its own when left out. */
  engine?: SubscriptionEngine;
  /**
   * Who is at the other end, from the payload of `connection_init` and the upgrade request.
   * A caller with a `refusal`, whose message is the reason of the close, where the credential is not good.
   */
  authenticate(connectionParams: Readonly<Record<string, unknown>>, request: RequestHead): Promise<Caller> | Caller;
  /** What goes with every operation to the subgraphs; the caller alone when left out. */
  contextOf?(caller: Caller, request: RequestHead): OperationContext;
  log: Pick<Logger, "error" | "debug">;
  heartbeatMs?: number;
  /** How long a client may leave unread what it was sent. */
  stalledMs?: number;
  /** How long a client may take to send `connection_init`. */
  initTimeoutMs?: number;
  /** How long who came with a bad credential has for logging in. */
  strangerMs?: number;
  maxMessageBytes?: number;
  /** Of who is not known, or not yet. */
  maxAnonymousMessageBytes?: number;
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
  writer: SocketWriter;
  request: RequestHead;
  hasBegun: boolean;
  initTimer: NodeJS.Timeout | undefined;
  /** Null until it is known who it is. */
  caller: Caller | null;
  operations: Map<string, OperationRun>;
}

/**
 * The protocol `graphql-transport-ws` (https://github.com/graphql/graphql-over-http, `PROTOCOL.md` of graphql-ws): queries, mutations
 * and subscriptions over one socket. A bad credential, and one that expires, closes it with 4401, after which clients do not try
 * again: they would with the same. Until then who came with one may log in. An operation before `connection_init` closes with 4401,
 * too; a shutdown with 1001.
 */
export function createGraphqlTransportWs(options: GraphqlTransportWsOptions): GraphqlTransportWs {
  const { executor, authenticate, log, now = Date.now, engine = createSubscriptionEngine({ executor }) } = options;
  const { contextOf = (caller: Caller): OperationContext => ({ caller, requestId: newId() }) } = options;
  const { heartbeatMs = 12_000, stalledMs = 60_000, initTimeoutMs = 5_000, strangerMs = STRANGER_MS } = options;
  const { maxMessageBytes = 1_048_576, maxAnonymousMessageBytes = 262_144, maxOperationsPerSocket = 100 } = options;
  const ports = { executor, engine };
  const sockets = new WebSocketServer({
    noServer: true,
    handleProtocols,
    maxPayload: maxMessageBytes,
    clientTracking: false,
  });
  const writers = createSocketWriters({ heartbeatMs, stalledMs, now });
  const texts = createResultTexts();
  const streams = createOpenStreams({ heartbeatMs, now });
  /** Upgraded, but nobody yet: they end with their timeout, or when the server stops. */
  const newcomers = new Set<WebSocket>();

  function handleMessage(connection: Connection, data: Buffer): void {
    const { socket, writer, operations, caller } = connection;
    if (data.length > maxAnonymousMessageBytes && (caller ?? anonymous).kind === "anonymous") {
      socket.close(1009, `A message has at most ${maxAnonymousMessageBytes} bytes until you have logged in`);
      return;
    }
    const text = data.toString("utf8");
    let message: Message;
    try {
      if (hasTooManyValues(text)) throw new Error("Too many values");
      message = parseMessage(text, exactReviver(text) as JSONMessageReviver | undefined);
    } catch {
      socket.close(CloseCode.BadRequest, "Invalid message received");
      return;
    }
    switch (message.type) {
      case MessageType.ConnectionInit:
        void initialize(connection, message.payload ?? {});
        return;
      case MessageType.Ping:
        void writer.send(JSON.stringify({ type: MessageType.Pong, payload: message.payload }));
        return;
      case MessageType.Pong:
        return;
      case MessageType.Subscribe:
        start(connection, message);
        return;
      case MessageType.Complete:
        operations.get(message.id)?.stop();
        operations.delete(message.id);
        return;
      default:
        socket.close(CloseCode.BadRequest, `A client does not send "${message.type}"`);
    }
  }

  async function initialize(connection: Connection, params: Record<string, unknown>): Promise<void> {
    const { socket, writer, request } = connection;
    if (connection.hasBegun) {
      socket.close(CloseCode.TooManyInitialisationRequests, "Too many initialisation requests");
      return;
    }
    connection.hasBegun = true;
    clearTimeout(connection.initTimer);
    connection.initTimer = undefined;
    let caller: Caller;
    try {
      caller = await authenticate(params, request);
    } catch (error) {
      if (!isPublic(error)) log.error({ err: error }, "authenticating a socket failed");
      if (!isPublic(error)) socket.close(CloseCode.InternalServerError, "Internal server error");
      else socket.close(closeCodeOf(error), closeReason(error.message));
      return;
    }
    if (socket.readyState !== socket.OPEN) return;
    connection.caller = caller;
    newcomers.delete(socket);
    const release = streams.open(caller, {
      end: ({ code, message }) =>
        code === "GOING_AWAY"
          ? socket.close(1001, "Going away")
          : socket.close(CloseCode.Unauthorized, closeReason(message)),
      beat: writer.beat,
      breakOff: () => socket.terminate(),
    });
    socket.once("close", release);
    void writer.send('{"type":"connection_ack"}');
    if (caller.refusal) endStranger(connection, caller.refusal);
  }

  /** Who came with a bad credential has a moment for logging in. */
  function endStranger({ socket, operations }: Connection, { message }: ToolyardError): void {
    const timer = setInterval(() => {
      if (operations.size === 0) socket.close(CloseCode.Unauthorized, closeReason(message));
    }, strangerMs).unref();
    socket.once("close", () => clearInterval(timer));
  }

  function start(connection: Connection, { id, payload }: SubscribeMessage): void {
    const { socket, caller, operations, request } = connection;
    if (!caller) {
      socket.close(CloseCode.Unauthorized, "Unauthorized");
      return;
    }
    if (operations.has(id)) {
      socket.close(CloseCode.SubscriberAlreadyExists, closeReason(`Subscriber for ${id} already exists`));
      return;
    }
    if (operations.size >= maxOperationsPerSocket) {
      const message = `At most ${maxOperationsPerSocket} operations may run on one socket.`;
      refuse(connection, id, [{ message, extensions: { code: "RATE_LIMITED" } }]);
      return;
    }
    const { query, operationName, variables } = payload;
    const run = runOperation(ports, { query, operationName, variables, context: contextOf(caller, request) });
    if ("errors" in run) {
      const badCredential = badCredentialOf(caller, run);
      if (badCredential) socket.close(CloseCode.Unauthorized, closeReason(badCredential.message));
      else refuse(connection, id, run.errors);
      return;
    }
    operations.set(id, run);
    void deliver(connection, id, run);
  }

  async function deliver({ socket, writer, operations }: Connection, id: string, run: OperationRun): Promise<void> {
    const begin = `{"id":${JSON.stringify(id)},"type":"next","payload":`;
    try {
      for await (const result of run.results) {
        if (operations.get(id) !== run) return;
        const room = writer.sendParts(begin, texts.of(result));
        if (room) await room;
      }
    } catch (error) {
      if (operations.get(id) !== run) return;
      log.error({ err: error }, "an operation on a socket failed");
      socket.close(CloseCode.InternalServerError, "Internal server error");
    } finally {
      run.stop();
      if (operations.get(id) === run) {
        operations.delete(id);
        void writer.send(JSON.stringify({ id, type: MessageType.Complete }));
      }
    }
  }

  function refuse(
    { writer }: Connection,
    id: string,
    payload: readonly (GraphQLError | GraphQLFormattedError)[],
  ): void {
    void writer.send(JSON.stringify({ id, type: MessageType.Error, payload }));
  }

  function open(socket: WebSocket, request: RequestHead, writer: SocketWriter): void {
    socket.on("error", (error) => log.debug({ err: error }, "a socket failed"));
    if (socket.protocol !== GRAPHQL_TRANSPORT_WS_PROTOCOL) {
      socket.close(CloseCode.SubprotocolNotAcceptable, "Subprotocol not acceptable");
      return;
    }
    const connection: Connection = {
      socket,
      writer,
      request,
      hasBegun: false,
      initTimer: setTimeout(
        () => socket.close(CloseCode.ConnectionInitialisationTimeout, "Connection initialisation timeout"),
        initTimeoutMs,
      ).unref(),
      caller: null,
      operations: new Map(),
    };
    newcomers.add(socket);
    socket.on("message", (data: Buffer) => handleMessage(connection, data));
    socket.once("close", () => {
      clearTimeout(connection.initTimer);
      newcomers.delete(socket);
      const running = [...connection.operations.values()];
      connection.operations.clear();
      for (const run of running) run.stop();
    });
  }

  return {
    protocol: GRAPHQL_TRANSPORT_WS_PROTOCOL,
    get openSockets() {
      return streams.size + newcomers.size;
    },
    activeSubscriptions: () => engine.activeStreams,
    droppedEvents: () => engine.droppedEvents,
    handleUpgrade(request, connection, head) {
      sockets.handleUpgrade(request, connection, head, (socket) =>
        // The rest of the request is not kept for as long as the socket is open.
        open(socket, { headers: request.headers, socket: request.socket }, writers.create(socket, connection)),
      );
    },
    closeSockets: (isConcerned, reason) => streams.endWhere(isConcerned, reason),
    async close(timeoutMs = 2_000) {
      for (const socket of newcomers) socket.close(1001, "Going away");
      await streams.close(timeoutMs);
      for (const socket of newcomers) socket.terminate();
      sockets.close();
    },
  };
}

/** Clients try again after the second: identity may be away for a moment. */
function closeCodeOf({ code }: ToolyardError): CloseCode {
  return code === "UNAUTHENTICATED" ? CloseCode.Unauthorized : CloseCode.Forbidden;
}
