import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { GraphQLError } from "graphql";
import { DEPRECATED_GRAPHQL_WS_PROTOCOL } from "graphql-ws";
import { WebSocketServer, type WebSocket } from "ws";
import { anonymous, isPublic, messageOf, type Caller, type Logger, type ToolyardError } from "@toolyard/service-kit";
import { hasTooManyValues } from "@toolyard/service-kit/http/request-body.ts";
import { z } from "zod";
import { parseExactly } from "../execution/running/exact-json.ts";
import type { OperationContext } from "../execution/clients/subgraph-client.ts";
import { badCredentialOf } from "../admission/open-operations.ts";
import type { OpenProtocol, RequestHead } from "./http-exchange.ts";
import { createOpenStreams, STRANGER_MS } from "./open-streams.ts";
import { runOperation, type OperationPorts, type OperationRun } from "./operation-run.ts";
import { createResultTexts } from "./result-texts.ts";
import { closeReason, createSocketWriters, type SocketWriter } from "./socket-writer.ts";

export interface SubscriptionsTransportWsOptions extends OperationPorts {
  /**
   * Who is at the other end, from the payload of `connection_init` and the upgrade request.
   * A caller with a `refusal`, whose message is sent as `connection_error`, where the credential is not good.
   */
  authenticate(connectionParams: Readonly<Record<string, unknown>>, request: RequestHead): Promise<Caller> | Caller;
  contextOf(caller: Caller, request: RequestHead): OperationContext;
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

export interface SubscriptionsTransportWs extends OpenProtocol {
  /** The `Sec-WebSocket-Protocol` it speaks: `graphql-ws`, the name that the newer library graphql-ws does not use. */
  readonly protocol: string;
  /** Takes over a connection that asked to be upgraded. Host and Origin have been checked before. */
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
}

const payload = z.record(z.string(), z.unknown()).nullish();
const clientMessage = z.discriminatedUnion("type", [
  z.object({ type: z.literal("connection_init"), payload }),
  z.object({ type: z.literal("connection_terminate") }),
  z.object({
    type: z.literal("start"),
    id: z.coerce.string(),
    payload: z.object({ query: z.string(), operationName: z.string().nullish(), variables: payload }),
  }),
  z.object({ type: z.literal("stop"), id: z.coerce.string() }),
]);
type ClientMessage = z.infer<typeof clientMessage>;
type StartMessage = Extract<ClientMessage, { type: "start" }>;

/** Private codes of the newer protocol, which say the same here. */
const closeCodes = { badRequest: 4400, unauthorized: 4401, forbidden: 4403, initTimeout: 4408, tooManyInits: 4429 };

interface Connection {
  socket: WebSocket;
  writer: SocketWriter;
  request: RequestHead;
  state: "new" | "authenticating" | "ready" | "closed";
  caller: Caller | null;
  operations: Map<string, OperationRun>;
  /** Operations that came while it was found out who asks: clients do not wait for `connection_ack`. */
  early: Map<string, StartMessage>;
}

/**
 * The protocol of subscriptions-transport-ws (https://github.com/apollographql/subscriptions-transport-ws, `PROTOCOL.md`), which
 * older clients of Apollo speak. Who comes with a bad credential may log in; anything else is answered by `connection_error`, and
 * then, as when a credential expires, the socket is closed with 4401. A shutdown closes with 1001.
 */
export function createSubscriptionsTransportWs(options: SubscriptionsTransportWsOptions): SubscriptionsTransportWs {
  const { authenticate, contextOf, log, heartbeatMs = 12_000, initTimeoutMs = 5_000, now = Date.now } = options;
  const { stalledMs = 60_000, strangerMs = STRANGER_MS } = options;
  const { maxMessageBytes = 1_048_576, maxAnonymousMessageBytes = 262_144, maxOperationsPerSocket = 100 } = options;
  const sockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    maxPayload: maxMessageBytes,
    handleProtocols: (offered) =>
      offered.has(DEPRECATED_GRAPHQL_WS_PROTOCOL) ? DEPRECATED_GRAPHQL_WS_PROTOCOL : false,
  });
  const writers = createSocketWriters({ heartbeatMs, stalledMs, now });
  const texts = createResultTexts();
  const streams = createOpenStreams({ heartbeatMs, now });
  /** Upgraded, but nobody yet: they end with their timeout, or when the server stops. */
  const newcomers = new Set<WebSocket>();

  function handleMessage(connection: Connection, data: Buffer): void {
    if (data.length > maxAnonymousMessageBytes && (connection.caller ?? anonymous).kind === "anonymous") {
      connection.socket.close(1009, `A message has at most ${maxAnonymousMessageBytes} bytes until you have logged in`);
      return;
    }
    const message = parseMessage(data);
    if (!message) {
      void send(connection, { type: "connection_error", payload: { message: "This is no message of the protocol." } });
      return;
    }
    switch (message.type) {
      case "connection_init":
        void initialize(connection, message.payload ?? {});
        return;
      case "connection_terminate":
        connection.socket.close(1000);
        return;
      case "start":
        start(connection, message);
        return;
      case "stop":
        connection.early.delete(message.id);
        connection.operations.get(message.id)?.stop();
    }
  }

  async function initialize(connection: Connection, params: Record<string, unknown>): Promise<void> {
    const { socket, request } = connection;
    if (connection.state !== "new") {
      socket.close(closeCodes.tooManyInits, "Too many initialisation requests");
      return;
    }
    connection.state = "authenticating";
    try {
      connection.caller = await authenticate(params, request);
    } catch (error) {
      if (isPublic(error)) return void turnAway(connection, error);
      log.error({ err: error }, "authenticating a socket failed");
      const message = "Internal server error";
      await send(connection, { type: "connection_error", payload: { message } });
      socket.close(1011, message);
      return;
    }
    if (socket.readyState !== socket.OPEN) return;
    connection.state = "ready";
    newcomers.delete(socket);
    const release = streams.open(connection.caller, {
      end: ({ code, message }) =>
        code === "GOING_AWAY"
          ? socket.close(1001, "Going away")
          : socket.close(closeCodes.unauthorized, closeReason(message)),
      beat: () => beat(connection),
      breakOff: () => socket.terminate(),
    });
    socket.once("close", release);
    void send(connection, { type: "connection_ack" });
    void send(connection, { type: "ka" });
    const waiting = [...connection.early.values()];
    connection.early.clear();
    for (const message of waiting) start(connection, message);
    if (connection.caller.refusal) endStranger(connection, connection.caller.refusal);
  }

  /** Who came with a bad credential has a moment for logging in. */
  function endStranger(connection: Connection, refusal: ToolyardError): void {
    const timer = setInterval(() => {
      if (connection.operations.size === 0) void turnAway(connection, refusal);
    }, strangerMs).unref();
    connection.socket.once("close", () => clearInterval(timer));
  }

  async function turnAway(connection: Connection, { code, message }: ToolyardError): Promise<void> {
    await send(connection, { type: "connection_error", payload: { message, extensions: { code } } });
    // Another try may be worth it where identity was away for a moment.
    const closeCode = code === "UNAUTHENTICATED" ? closeCodes.unauthorized : closeCodes.forbidden;
    connection.socket.close(closeCode, closeReason(message));
  }

  function beat({ socket, writer }: Connection): void {
    writer.beat();
    if (socket.readyState === socket.OPEN && socket.bufferedAmount === 0) void writer.send('{"type":"ka"}');
  }

  function start(connection: Connection, message: StartMessage): void {
    const { caller, operations, early, request, socket, state } = connection;
    const { id, payload: asked } = message;
    const { query, operationName = null, variables = null } = asked;
    if (state === "authenticating" && early.size < maxOperationsPerSocket) {
      early.set(id, message);
      return;
    }
    if (!caller) {
      socket.close(closeCodes.badRequest, "Send connection_init first");
      return;
    }
    // The protocol says nothing of an id used twice; its own server ends the older operation.
    const former = operations.get(id);
    former?.stop();
    if (!former && operations.size >= maxOperationsPerSocket) {
      const message = `At most ${maxOperationsPerSocket} operations may run on one socket.`;
      refuse(connection, id, [{ message, extensions: { code: "RATE_LIMITED" } }]);
      return;
    }
    const run = runOperation(options, { query, operationName, variables, context: contextOf(caller, request) });
    if ("errors" in run) {
      const badCredential = badCredentialOf(caller, run);
      if (badCredential) void turnAway(connection, badCredential);
      else refuse(connection, id, run.errors);
      return;
    }
    operations.set(id, run);
    void deliver(connection, id, run);
  }

  async function deliver(connection: Connection, id: string, run: OperationRun): Promise<void> {
    const { operations, socket, writer } = connection;
    const begin = `{"type":"data","id":${JSON.stringify(id)},"payload":`;
    try {
      for await (const result of run.results) {
        if (operations.get(id) !== run) return;
        const room = writer.sendParts(begin, texts.of(result));
        if (room) await room;
      }
    } catch (error) {
      if (connection.state === "closed") return;
      log.error({ err: error }, "an operation on a socket failed");
      socket.close(1011, "Internal server error");
    } finally {
      run.stop();
      if (operations.get(id) === run) {
        operations.delete(id);
        void send(connection, { type: "complete", id });
      }
    }
  }

  /** Before an operation began there is one error in the payload; clients that can read several find them in `errors`. */
  function refuse(
    connection: Connection,
    id: string,
    errors: readonly (GraphQLError | { message: string; extensions: object })[],
  ): void {
    const formatted = errors.map((error) => ("toJSON" in error ? error.toJSON() : error));
    void send(connection, { type: "error", id, payload: { ...formatted[0], errors: formatted } });
  }

  const send = ({ writer }: Connection, message: object) => writer.send(JSON.stringify(message));

  function open(socket: WebSocket, request: RequestHead, writer: SocketWriter): void {
    const connection: Connection = {
      socket,
      writer,
      request,
      state: "new",
      caller: null,
      operations: new Map(),
      early: new Map(),
    };
    newcomers.add(socket);
    const initTimer = setTimeout(() => {
      if (newcomers.has(socket)) socket.close(closeCodes.initTimeout, "Connection initialisation timeout");
    }, initTimeoutMs).unref();
    socket.on("message", (data: Buffer) => handleMessage(connection, data));
    socket.on("error", (error) => log.debug({ err: error }, "a socket failed"));
    socket.once("close", () => {
      connection.state = "closed";
      clearTimeout(initTimer);
      newcomers.delete(socket);
      const running = [...connection.operations.values()];
      connection.operations.clear();
      for (const run of running) run.stop();
    });
  }

  return {
    protocol: DEPRECATED_GRAPHQL_WS_PROTOCOL,
    get openStreams() {
      return streams.size;
    },
    handleUpgrade(request, socket, head) {
      sockets.handleUpgrade(request, socket, head, (upgraded) =>
        // The rest of the request is not kept for as long as the socket is open.
        open(upgraded, { headers: request.headers, socket: request.socket }, writers.create(upgraded, socket)),
      );
    },
    endWhere: (isConcerned, message) => streams.endWhere(isConcerned, message),
    async close(timeoutMs = 2_000) {
      for (const socket of newcomers) socket.close(1001, "Going away");
      await streams.close(timeoutMs);
      for (const socket of newcomers) socket.terminate();
      sockets.close();
    },
  };
}

function parseMessage(data: Buffer): ClientMessage | null {
  try {
    const text = data.toString("utf8");
    return hasTooManyValues(text) ? null : (clientMessage.safeParse(parseExactly(text)).data ?? null);
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw new Error(`A message could not be read: ${messageOf(error)}`, { cause: error });
  }
}
