import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocketServer, type WebSocket } from "ws";
import { ToolyardError, isPublic, newId, problemDetails, type Caller, type Logger } from "@toolyard/service-kit";
import { closeCodeOf } from "@toolyard/service-kit/errors/error-codes.ts";
import { createLightAbort } from "@toolyard/service-kit/process/light-abort.ts";
import { SOCKET_BOUNDS } from "@toolyard/service-kit/http/socket-bounds.ts";
import type { GatewayContext } from "../admission/operation-gate.ts";
import { createOpenStreams, type StreamEnd } from "../subscriptions/open-streams.ts";
import type { RequestHead } from "../subscriptions/http-exchange.ts";
import { closeReason, createSocketWriters, type SocketWriter } from "../subscriptions/socket-writer.ts";
import type { EventEnvelope, EventFeed, EventFeeds } from "./event-feed.ts";
import { readMessage } from "./event-request.ts";

export interface EventSocketsOptions {
  feeds: EventFeeds;
  /** The caller. @throws ToolyardError when the credential is missing or not valid */
  authenticate(request: IncomingMessage): Promise<Caller>;
  contextOf(caller: Caller, request: RequestHead, requestId: string): GatewayContext;
  /** Counts a caller's socket. @returns the end of it @throws ToolyardError RATE_LIMITED */
  enter(context: GatewayContext): () => void;
  heartbeatMs?: number;
  /** How long a client may leave sent data unread. */
  stalledMs: number;
  /** How long a socket may be open without a subscription. */
  idleMs: number;
  logger: Pick<Logger, "error" | "debug">;
}

/** The sockets of `/ws`. */
export interface EventSockets {
  readonly openStreams: number;
  /** Takes over a connection that asked to be upgraded. Host and Origin have been checked before. */
  handleUpgrade(request: IncomingMessage, connection: Duplex, head: Buffer): void;
  /** Ends the sockets of callers whose credential was revoked. */
  endWhere(isConcerned: (caller: Caller) => boolean, message: string): void;
  /** Ends everything and waits until it is closed, `timeoutMs` at most. */
  close(timeoutMs: number): Promise<void>;
}

/** Clients send short messages only. */
const MAX_MESSAGE_BYTES = 4_096;
/** Messages that wait while one is being answered: a client that sends more does not wait for answers. */
const MAX_WAITING_MESSAGES = 16;
const GOING_AWAY = 1001;
const POLICY_VIOLATION = 1008;
/** As the GraphQL protocols close where nothing was begun in time. */
const IDLE = 4408;

/** Streams of events over WebSockets, one for each socket at a time, in messages of JSON (docs/streams.md). */
export function createEventSockets(options: EventSocketsOptions): EventSockets {
  const { feeds, authenticate, contextOf, enter, heartbeatMs = 12_000, stalledMs, idleMs, logger } = options;
  const sockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    ...SOCKET_BOUNDS,
    maxPayload: MAX_MESSAGE_BYTES,
    // Events are short, and compression takes memory for each socket.
    perMessageDeflate: false,
  });
  const writers = createSocketWriters({ heartbeatMs, stalledMs, now: Date.now });
  const streams = createOpenStreams({ heartbeatMs });

  async function open(socket: WebSocket, writer: SocketWriter, request: IncomingMessage): Promise<void> {
    const requestId = newId();
    const gone = createLightAbort();
    /** Messages that came before the caller was known, or while another was being answered. */
    const waiting: string[] = [];
    let feed: EventFeed | null = null;
    let idle: NodeJS.Timeout | undefined;
    let isBusy = true;

    socket.on("error", (error) => logger.debug({ err: error, request_id: requestId }, "a socket failed"));
    socket.on("message", (data: Buffer, isBinary) => {
      // A closed socket reads on until its client answers the close: nothing more is kept.
      if (socket.readyState !== socket.OPEN) return;
      if (waiting.length >= MAX_WAITING_MESSAGES) {
        close(POLICY_VIOLATION, "Wait for the answer to a message");
        return;
      }
      waiting.push(isBinary ? "" : data.toString("utf8"));
      if (!isBusy) void answerWaiting();
    });
    socket.once("close", () => {
      clearTimeout(idle);
      feed?.stop();
      gone.abort(new ToolyardError("UPSTREAM_UNAVAILABLE", "The client went away."));
    });

    /** Ends the events now: a client may leave the close unanswered. */
    function close(code: number, reason: string): void {
      feed?.stop();
      socket.close(code, closeReason(reason));
    }
    const send = (message: EventEnvelope) => writer.send(JSON.stringify(message));
    const say = (type: EventEnvelope["type"], data: unknown) =>
      send({ id: feed?.id ?? null, type, at: new Date().toISOString(), data });
    function report(error: unknown): ToolyardError {
      if (!isPublic(error)) logger.error({ err: error, request_id: requestId }, "a socket's stream of events failed");
      void say("error", problemDetails(error, requestId));
      return isPublic(error) ? error : new ToolyardError("INTERNAL_SERVER_ERROR", "Internal server error");
    }
    function waitForSubscription(): void {
      clearTimeout(idle);
      const reason = `Without a subscription, a socket is closed after ${idleMs / 1_000} s`;
      idle = setTimeout(() => close(IDLE, reason), idleMs).unref();
    }

    let context: GatewayContext;
    try {
      const caller = await authenticate(request);
      if (socket.readyState !== socket.OPEN) return;
      // The rest of the request is not kept for as long as the socket is open.
      const head = { headers: request.headers, socket: request.socket };
      context = Object.assign(contextOf(caller, head, requestId), { isOnSocket: true });
      socket.once("close", enter(context));
      socket.once(
        "close",
        streams.open(caller, {
          end: (why) => close(codeOf(why), why.message),
          beat: writer.beat,
          breakOff: () => socket.terminate(),
        }),
      );
    } catch (error) {
      const { code, message } = report(error);
      close(closeCodeOf(code), message);
      return;
    }
    waitForSubscription();
    await answerWaiting();

    async function answerWaiting(): Promise<void> {
      isBusy = true;
      for (let text = waiting.shift(); text !== undefined; text = waiting.shift()) {
        if (socket.readyState !== socket.OPEN) break;
        try {
          await answer(readJson(text));
        } catch (error) {
          report(error);
        }
      }
      isBusy = false;
    }

    async function answer(message: Record<string, unknown>): Promise<void> {
      switch (message["type"]) {
        case "subscribe":
          return subscribe(message);
        case "unsubscribe":
          feed?.stop();
          void say("unsubscribed", {});
          feed = null;
          return waitForSubscription();
        case "ping":
          void say("pong", {});
          return;
        case "pong":
          return;
        default:
          throw new ToolyardError("BAD_USER_INPUT", "type must be one of subscribe, unsubscribe, ping, pong.");
      }
    }

    /** In place of the subscription before, if there is one. */
    async function subscribe(message: Record<string, unknown>): Promise<void> {
      const next = await feeds.open(readMessage(message), context, gone.signal);
      feed?.stop();
      feed = next;
      if (socket.readyState !== socket.OPEN) return next.stop();
      clearTimeout(idle);
      void say("subscribed", { topics: next.topics });
      void next.run(send).catch((error: unknown) => {
        if (feed !== next) return;
        report(error);
        feed = null;
        waitForSubscription();
      });
    }
  }

  return {
    get openStreams() {
      return streams.size;
    },
    handleUpgrade(request, connection, head) {
      sockets.handleUpgrade(request, connection, head, (socket) => {
        open(socket, writers.create(socket, connection), request).catch((error: unknown) => {
          logger.error({ err: error }, "a socket could not be opened");
          socket.terminate();
        });
      });
    },
    endWhere: streams.endWhere,
    close: streams.close,
  };
}

function codeOf({ code }: StreamEnd): number {
  return code === "GOING_AWAY" ? GOING_AWAY : closeCodeOf(code);
}

/** @throws ToolyardError BAD_USER_INPUT */
function readJson(text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // as any other text that is no message
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new ToolyardError("BAD_USER_INPUT", 'Send text in JSON, such as {"type": "subscribe"}.');
}
