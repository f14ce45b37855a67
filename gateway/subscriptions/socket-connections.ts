import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { GraphQLError, GraphQLFormattedError } from "graphql";
import { CloseCode } from "graphql-ws";
import { WebSocketServer, type WebSocket } from "ws";
import { anonymous, isPublic, nextTimeSlice, type Caller, type ErrorCode, type Logger } from "@toolyard/service-kit";
import { hasTooManyValues } from "@toolyard/service-kit/http/request-body.ts";
import { isTooNested } from "@toolyard/service-kit/json.ts";
import { closeCodeOf } from "@toolyard/service-kit/errors/error-codes.ts";
import { SOCKET_BOUNDS } from "@toolyard/service-kit/http/socket-bounds.ts";
import type { OperationContext } from "../execution/clients/subgraph-client.ts";
import { badCredentialOf } from "../admission/open-operations.ts";
import type { OpenProtocol, RequestHead } from "./http-exchange.ts";
import { createOpenStreams, UNAUTHENTICATED_TIMEOUT_MS } from "./open-streams.ts";
import { runOperation, type OperationPorts, type OperationRun } from "./operation-run.ts";
import { createResultTexts } from "./result-texts.ts";
import { closeReason, createSocketWriters, type SocketWriter } from "./socket-writer.ts";

/** A client's message, independent of the protocol's names. */
export type SocketMessage =
  | { kind: "init"; params: Record<string, unknown> }
  | StartMessage
  | { kind: "stop"; id: string }
  | { kind: "ping"; answer: string }
  | { kind: "pong" }
  | { kind: "leave" };

interface StartMessage {
  kind: "start";
  id: string;
  query: string;
  operationName: string | null | undefined;
  variables: Record<string, unknown> | null | undefined;
}

/** Why a socket is closed (RFC 6455, section 7.4). */
interface Close {
  code: number;
  reason: string;
}

/** A wire protocol of operations over one WebSocket: its messages, and its differences from others. All texts are JSON. */
export interface SocketProtocol {
  /** Its `Sec-WebSocket-Protocol`. */
  readonly name: string;
  /** @throws Error when the text is no message that a client of the protocol sends */
  read(text: string): SocketMessage;
  /** The answer to such a text; null: the socket is closed. */
  readonly badMessage: string | null;
  /** Sent once the caller is known. */
  readonly greetings: readonly string[];
  /** Sent at each heartbeat to a client that has read everything; null: WebSocket's own pings are enough. */
  readonly beat: string | null;
  /** Sent before a socket is closed to a refused caller; null: the close code says it. */
  turnAway(error: { message: string; code?: ErrorCode }): string | null;
  /** The text before a result; a closing brace follows the result. */
  resultStart(id: string): string;
  complete(id: string): string;
  /** For an operation that does not begin. */
  error(id: string, errors: readonly (GraphQLError | GraphQLFormattedError)[]): string;
  /** The close for an operation that comes before the caller is known. */
  readonly uninitialized: Close;
  /** Whether operations wait while the caller is being identified, for clients that do not wait for the acknowledgement. */
  readonly allowsEarlyStart: boolean;
  /** Whether an operation whose id is in use ends the other one; else the socket is closed. */
  readonly replacesOperations: boolean;
  /** Whether a client that stops an operation is told when it has ended. */
  readonly confirmsStop: boolean;
}

export interface SocketConnectionsOptions extends OperationPorts {
  /**
   * The caller, from the payload of `connection_init` and the upgrade request.
   * A caller with a `refusal`, whose message is the reason of the close, where the credential is not valid.
   */
  authenticate(connectionParams: Readonly<Record<string, unknown>>, request: RequestHead): Promise<Caller> | Caller;
  /** The context that goes with every operation to the subgraphs. */
  contextOf(caller: Caller, request: RequestHead): OperationContext;
  log: Pick<Logger, "error" | "debug">;
  heartbeatMs?: number;
  /** The longest message of a client whose caller is not known, or not known yet. */
  maxAnonymousMessageBytes?: number;
}

/** The sockets of one protocol. */
export interface SocketConnections extends OpenProtocol {
  readonly protocol: string;
  /** Takes over a connection that asked to be upgraded. Host and Origin have been checked before. */
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
}

interface Connection {
  socket: WebSocket;
  writer: SocketWriter;
  request: RequestHead;
  initTimer: NodeJS.Timeout | undefined;
  /** Whether `connection_init` has come. */
  hasBegun: boolean;
  /** Null until the caller is known. */
  caller: Caller | null;
  operations: Map<string, OperationRun>;
  /** Operations that wait until the caller is known; null where the protocol has none, and afterwards. */
  early: Map<string, StartMessage> | null;
  /** Ends once all that waits for a turn of the event loop is done; null when nothing waits. */
  waiting: Promise<void> | null;
}

const MAX_MESSAGE_BYTES = 1_048_576;
const MAX_OPERATIONS = 100;
/** How long a client may leave sent data unread. */
const STALLED_MS = 60_000;
/** How long a client may take to send `connection_init`. */
const INIT_TIMEOUT_MS = 5_000;

/** RFC 6455's own codes: the server stops, and the message is too long. */
const GOING_AWAY: Close = { code: 1001, reason: "Going away" };
const TOO_BIG = 1009;

/**
 * Serves operations over WebSockets. A bad or expired credential closes a socket with 4401, after which clients do not
 * try again: they would with the same. Until then a caller with a bad credential may log in. A shutdown closes with 1001.
 */
export function createSocketConnections(
  protocol: SocketProtocol,
  options: SocketConnectionsOptions,
): SocketConnections {
  const { authenticate, contextOf, log, heartbeatMs = 12_000, maxAnonymousMessageBytes = 262_144 } = options;
  const sockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    ...SOCKET_BOUNDS,
    maxPayload: MAX_MESSAGE_BYTES,
    handleProtocols: (offered) => (offered.has(protocol.name) ? protocol.name : false),
  });
  const writers = createSocketWriters({ heartbeatMs, stalledMs: STALLED_MS, now: Date.now });
  const texts = createResultTexts();
  const streams = createOpenStreams({ heartbeatMs });
  /** Upgraded sockets without a caller yet: they end with their timeout, or when the server stops. */
  const newcomers = new Set<WebSocket>();

  function close({ socket }: Pick<Connection, "socket">, { code, reason }: Close): void {
    socket.close(code, closeReason(reason));
  }

  /** Does work in the order of asking, in a turn of the event loop that has time for it: clients send many messages at once. */
  function inTurn(connection: Connection, work: () => void): void {
    const turn = connection.waiting ?? nextTimeSlice();
    if (!turn) return work();
    const { socket } = connection;
    // What has been read waits here; no more is read meanwhile.
    const pauses = !connection.waiting && !socket.isPaused;
    if (pauses) socket.pause();
    const done = turn.then(async () => {
      // For the first, the turn that it has waited for.
      await nextTimeSlice();
      if (socket.readyState === socket.OPEN) work();
      if (connection.waiting === done) connection.waiting = null;
      if (pauses) socket.resume();
    });
    connection.waiting = done;
  }

  function handleMessage(connection: Connection, data: Buffer): void {
    const { writer, operations, early, caller } = connection;
    if (data.length > maxAnonymousMessageBytes && (caller ?? anonymous).kind === "anonymous") {
      const reason = `A message has at most ${maxAnonymousMessageBytes} bytes until you have logged in`;
      close(connection, { code: TOO_BIG, reason });
      return;
    }
    const text = data.toString("utf8");
    let message: SocketMessage;
    try {
      if (hasTooManyValues(text) || isTooNested(text)) throw new Error("Too many values or levels");
      message = protocol.read(text);
    } catch {
      if (protocol.badMessage !== null) void writer.send(protocol.badMessage);
      else close(connection, { code: CloseCode.BadRequest, reason: "Invalid message received" });
      return;
    }
    switch (message.kind) {
      case "init":
        void initialize(connection, message.params);
        return;
      case "start":
        start(connection, message);
        return;
      case "stop":
        early?.delete(message.id);
        operations.get(message.id)?.stop();
        if (!protocol.confirmsStop) operations.delete(message.id);
        return;
      case "ping":
        void writer.send(message.answer);
        return;
      case "pong":
        return;
      case "leave":
        close(connection, { code: 1000, reason: "" });
    }
  }

  async function initialize(connection: Connection, params: Record<string, unknown>): Promise<void> {
    const { socket, writer, request } = connection;
    if (connection.hasBegun) {
      const reason = "Too many initialisation requests";
      close(connection, { code: CloseCode.TooManyInitialisationRequests, reason });
      return;
    }
    connection.hasBegun = true;
    clearTimeout(connection.initTimer);
    connection.initTimer = undefined;
    let caller: Caller;
    try {
      caller = await authenticate(params, request);
    } catch (error) {
      if (isPublic(error)) return turnAway(connection, error);
      log.error({ err: error }, "authenticating a socket failed");
      return turnAway(connection, { message: "Internal server error" });
    }
    if (socket.readyState !== socket.OPEN) return;
    connection.caller = caller;
    newcomers.delete(socket);
    const release = streams.open(caller, {
      end: ({ code, message }) =>
        close(connection, code === "GOING_AWAY" ? GOING_AWAY : { code: closeCodeOf(code), reason: message }),
      beat: protocol.beat === null ? writer.beat : () => beat(connection, protocol.beat),
      breakOff: () => socket.terminate(),
    });
    socket.once("close", release);
    for (const greeting of protocol.greetings) void writer.send(greeting);
    const early = connection.early?.values() ?? [];
    connection.early = null;
    for (const message of early) inTurn(connection, () => start(connection, message));
    if (caller.refusal) endStranger(connection, caller.refusal);
  }

  function beat({ socket, writer }: Connection, text: string | null): void {
    writer.beat();
    if (text !== null && socket.readyState === socket.OPEN && socket.bufferedAmount === 0) void writer.send(text);
  }

  /** A caller with a bad credential has a moment to log in. */
  function endStranger(connection: Connection, refusal: { message: string; code: ErrorCode }): void {
    const timer = setInterval(() => {
      if (connection.operations.size === 0) void turnAway(connection, refusal);
    }, UNAUTHENTICATED_TIMEOUT_MS).unref();
    connection.socket.once("close", () => clearInterval(timer));
  }

  async function turnAway(connection: Connection, error: { message: string; code?: ErrorCode }): Promise<void> {
    const text = protocol.turnAway(error);
    if (text !== null) await connection.writer.send(text);
    close(connection, { code: closeCodeOf(error.code ?? "INTERNAL_SERVER_ERROR"), reason: error.message });
  }

  function start(connection: Connection, message: StartMessage): void {
    const { writer, caller, operations, early, hasBegun, request } = connection;
    const { id, query, operationName, variables } = message;
    if (!caller) {
      if (early && hasBegun && early.size < MAX_OPERATIONS) early.set(id, message);
      else close(connection, protocol.uninitialized);
      return;
    }
    const former = operations.get(id);
    if (former && !protocol.replacesOperations) {
      close(connection, { code: CloseCode.SubscriberAlreadyExists, reason: `Subscriber for ${id} already exists` });
      return;
    }
    former?.stop();
    if (!former && operations.size >= MAX_OPERATIONS) {
      const problem = `At most ${MAX_OPERATIONS} operations may run on one socket.`;
      void writer.send(protocol.error(id, [{ message: problem, extensions: { code: "RATE_LIMITED" } }]));
      return;
    }
    const run = runOperation(options, { query, operationName, variables, context: contextOf(caller, request) });
    if ("errors" in run) {
      const badCredential = badCredentialOf(caller, run);
      if (badCredential) void turnAway(connection, badCredential);
      else void writer.send(protocol.error(id, run.errors));
      return;
    }
    operations.set(id, run);
    void deliver(connection, id, run);
  }

  async function deliver(connection: Connection, id: string, run: OperationRun): Promise<void> {
    const { writer, operations } = connection;
    const begin = protocol.resultStart(id);
    try {
      for await (const result of run.results) {
        if (operations.get(id) !== run) return;
        const room = writer.sendParts(begin, texts.of(result));
        if (room) await room;
      }
    } catch (error) {
      if (operations.get(id) !== run) return;
      log.error({ err: error }, "an operation on a socket failed");
      close(connection, { code: closeCodeOf("INTERNAL_SERVER_ERROR"), reason: "Internal server error" });
    } finally {
      run.stop();
      if (operations.get(id) === run) {
        operations.delete(id);
        void writer.send(protocol.complete(id));
      }
    }
  }

  function open(socket: WebSocket, request: RequestHead, writer: SocketWriter): void {
    socket.on("error", (error) => log.debug({ err: error }, "a socket failed"));
    if (socket.protocol !== protocol.name) {
      close({ socket }, { code: CloseCode.SubprotocolNotAcceptable, reason: "Subprotocol not acceptable" });
      return;
    }
    const connection: Connection = {
      socket,
      writer,
      request,
      initTimer: setTimeout(() => {
        const reason = "Connection initialisation timeout";
        close({ socket }, { code: CloseCode.ConnectionInitialisationTimeout, reason });
      }, INIT_TIMEOUT_MS).unref(),
      hasBegun: false,
      caller: null,
      operations: new Map(),
      early: protocol.allowsEarlyStart ? new Map() : null,
      waiting: null,
    };
    newcomers.add(socket);
    socket.on("message", (data: Buffer) => inTurn(connection, () => handleMessage(connection, data)));
    socket.once("close", () => {
      clearTimeout(connection.initTimer);
      newcomers.delete(socket);
      const running = [...connection.operations.values()];
      connection.operations.clear();
      for (const run of running) run.stop();
    });
  }

  return {
    protocol: protocol.name,
    get openStreams() {
      return streams.size + newcomers.size;
    },
    handleUpgrade(request, connection, head) {
      sockets.handleUpgrade(request, connection, head, (socket) =>
        // The rest of the request is not kept for as long as the socket is open.
        open(socket, { headers: request.headers, socket: request.socket }, writers.create(socket, connection)),
      );
    },
    endWhere: (isConcerned, message) => streams.endWhere(isConcerned, message),
    async close(timeoutMs = 2_000) {
      for (const socket of newcomers) close({ socket }, GOING_AWAY);
      await streams.close(timeoutMs);
      for (const socket of newcomers) socket.terminate();
      sockets.close();
    },
  };
}
