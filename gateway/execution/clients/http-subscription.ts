import {
  GRAPHQL_TRANSPORT_WS_PROTOCOL,
  MessageType,
  parseMessage,
  type JSONMessageReviver,
  type Message,
} from "graphql-ws";
import { WebSocket } from "ws";
import { ToolyardError, toError } from "@toolyard/service-kit";
import { createStaggeredInterval } from "@toolyard/service-kit/process/staggered-interval.ts";
import { exactReviver } from "../../formats/exact-json.ts";
import {
  variablesTextOf,
  type OperationContext,
  type SubgraphRequest,
  type SubgraphResponse,
} from "./subgraph-client.ts";
import { parseSubgraphResponse } from "./subgraph-response.ts";

export interface HttpSubscriberOptions {
  name: string;
  url: URL;
  headersFor(context: OperationContext): Promise<Record<string, string>> | Record<string, string>;
  connectTimeoutMs: number;
  maxBufferedEvents: number;
  /** How often a ping is sent; a socket that leaves one unanswered for as long is broken. */
  heartbeatMs?: number;
}

/** Reads the streams of one subgraph; its `subscribe` is that of a `SubgraphClient`. */
export interface HttpSubscriber {
  subscribe(request: SubgraphRequest): AsyncIterable<SubgraphResponse>;
  close(): Promise<void>;
}

type Step = IteratorResult<SubgraphResponse, undefined>;

/** One subscription and its socket. */
interface Stream {
  request: SubgraphRequest;
  socket: WebSocket | null;
  /** Runs until the subgraph has acknowledged the connection. */
  deadline: NodeJS.Timeout | undefined;
  queue: { response: SubgraphResponse; bytes: number }[];
  /** The size of all that is in the queue. */
  queuedBytes: number;
  waiting: ((step: Step | Promise<never>) => void) | null;
  /** Comes after the queue's content. */
  end: { error: unknown } | "complete" | null;
  /** Whether a ping has not been answered yet. */
  owesPong: boolean;
  onAbort: () => void;
}

const OPERATION_ID = "1";
/** The same as for an answer over HTTP. */
const MAX_EVENT_BYTES = 32 * 1_048_576;
/** For events that wait here while the client is slow: a few large ones take the room of many. */
const MAX_BUFFERED_BYTES = 4 * 1_048_576;

/**
 * Subscribes to a subgraph by graphql-transport-ws. Every stream has a socket of its own: the caller travels in the headers of its
 * upgrade, and a stream that the client reads slowly holds back no other. There may be thousands of them, so they are kept small.
 */
export function createHttpSubscriber(options: HttpSubscriberOptions): HttpSubscriber {
  const { name, headersFor, connectTimeoutMs, maxBufferedEvents, heartbeatMs = 30_000 } = options;
  const url = new URL(options.url);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  const open = new Set<Stream>();
  const heartbeat = createStaggeredInterval<Stream>({ everyMs: heartbeatMs, items: open, take: beat });

  async function connect(stream: Stream): Promise<void> {
    const { context } = stream.request;
    let headers: Record<string, string>;
    try {
      headers = await headersFor(context);
    } catch (error) {
      finish(stream, { error });
      return;
    }
    if (stream.end) return;
    const socket = new WebSocket(url, GRAPHQL_TRANSPORT_WS_PROTOCOL, {
      headers: streamHeaders(context, headers),
      handshakeTimeout: connectTimeoutMs,
      followRedirects: false,
      // Compression costs each socket a compressor's memory.
      perMessageDeflate: false,
      maxPayload: MAX_EVENT_BYTES,
    });
    stream.socket = socket;
    stream.deadline = setTimeout(() => fail(stream, "it did not acknowledge the connection in time"), connectTimeoutMs);
    socket.on("open", () => socket.send(JSON.stringify({ type: MessageType.ConnectionInit, payload: headers })));
    socket.on("message", (data: Buffer) => receive(stream, data));
    socket.on("pong", () => {
      stream.owesPong = false;
    });
    socket.on("error", (cause) => fail(stream, "its socket failed", cause));
    socket.on("close", (code, reason) => fail(stream, "its socket closed", { code, reason: reason.toString("utf8") }));
  }

  function receive(stream: Stream, data: Buffer): void {
    const { socket, request } = stream;
    if (!socket || stream.end) return;
    let message: Message;
    try {
      const text = data.toString("utf8");
      message = parseMessage(text, exactReviver(text) as JSONMessageReviver | undefined);
    } catch (error) {
      fail(stream, "it sent something that is not a message of graphql-transport-ws", error);
      return;
    }
    switch (message.type) {
      case MessageType.ConnectionAck: {
        clearTimeout(stream.deadline);
        const payload = `{"query":${JSON.stringify(request.query)},"variables":${variablesTextOf(request)}}`;
        socket.send(`{"id":${JSON.stringify(OPERATION_ID)},"type":"${MessageType.Subscribe}","payload":${payload}}`);
        request.onOpen?.();
        return;
      }
      case MessageType.Ping:
        socket.send(JSON.stringify({ type: MessageType.Pong, payload: message.payload }));
        return;
      case MessageType.Next: {
        const response = parseSubgraphResponse(message.payload);
        if (response) give(stream, response, data.length);
        else fail(stream, "it sent something that is not a GraphQL response");
        return;
      }
      case MessageType.Error: {
        const response = parseSubgraphResponse({ errors: message.payload });
        if (response) give(stream, response, data.length);
        finish(stream, "complete");
        return;
      }
      case MessageType.Complete:
        finish(stream, "complete");
        return;
      default:
        return; // says nothing that matters
    }
  }

  const isFull = ({ queue, queuedBytes }: Stream, part: number) =>
    queue.length >= maxBufferedEvents * part || queuedBytes >= MAX_BUFFERED_BYTES * part;

  function give(stream: Stream, response: SubgraphResponse, bytes: number): void {
    const { waiting, queue, socket } = stream;
    if (waiting) {
      stream.waiting = null;
      waiting({ done: false, value: response });
      return;
    }
    queue.push({ response, bytes });
    stream.queuedBytes += bytes;
    // While the socket is paused, the subgraph's own socket holds data back.
    if (isFull(stream, 1)) socket?.pause();
  }

  function fail(stream: Stream, what: string, cause?: unknown): void {
    if (!stream.end) finish(stream, { error: brokenStream(name, what, cause) });
  }

  /** No more events will come, or are wanted. */
  function finish(stream: Stream, how: NonNullable<Stream["end"]>): void {
    if (stream.end) return;
    stream.end = how;
    release(stream);
    const { waiting } = stream;
    stream.waiting = null;
    waiting?.(takeEnd(stream));
  }

  function release(stream: Stream): void {
    const { socket, request } = stream;
    open.delete(stream);
    heartbeat.stopWhenEmpty();
    clearTimeout(stream.deadline);
    request.signal.removeEventListener("abort", stream.onAbort);
    if (!socket || socket.readyState === WebSocket.CLOSED) return;
    if (socket.readyState === WebSocket.CONNECTING) socket.terminate();
    else {
      if (socket.isPaused) socket.resume(); // else the subgraph's answer to the close would not be read
      socket.close(1000, "Normal Closure");
    }
  }

  function take(stream: Stream): Promise<Step> {
    const { queue, socket } = stream;
    const next = queue.shift();
    if (next) {
      stream.queuedBytes -= next.bytes;
      if (socket?.isPaused && !isFull(stream, 0.5)) {
        // Its pong may be among the unread data.
        stream.owesPong = false;
        socket.resume();
      }
      return Promise.resolve({ done: false, value: next.response });
    }
    if (stream.end) return Promise.resolve(takeEnd(stream));
    return new Promise((resolve) => {
      stream.waiting = resolve;
    });
  }

  function takeEnd(stream: Stream): Step | Promise<never> {
    const { end } = stream;
    stream.end = "complete";
    return end === null || end === "complete" ? { done: true, value: undefined } : Promise.reject(toError(end.error));
  }

  function beat(stream: Stream): void {
    const { socket } = stream;
    // A paused socket would not show a pong.
    if (!socket || socket.readyState !== WebSocket.OPEN || socket.isPaused) return;
    if (stream.owesPong) {
      fail(stream, "it gives no sign of life");
      socket.terminate();
      return;
    }
    stream.owesPong = true;
    socket.ping();
  }

  return {
    subscribe(request) {
      const stream: Stream = {
        request,
        socket: null,
        deadline: undefined,
        queue: [],
        queuedBytes: 0,
        waiting: null,
        end: null,
        owesPong: false,
        onAbort: () => finish(stream, "complete"),
      };
      let hasBegun = false;
      const events: AsyncIterableIterator<SubgraphResponse, undefined> = {
        next() {
          if (!hasBegun) {
            hasBegun = true;
            if (request.signal.aborted) stream.end = "complete";
            else {
              request.signal.addEventListener("abort", stream.onAbort, { once: true });
              open.add(stream);
              heartbeat.start();
              void connect(stream);
            }
          }
          return take(stream);
        },
        return() {
          stream.queue.length = 0;
          finish(stream, "complete");
          return Promise.resolve({ done: true, value: undefined });
        },
        [Symbol.asyncIterator]() {
          return this;
        },
      };
      return events;
    },
    async close() {
      for (const stream of open) finish(stream, "complete");
    },
  };
}

/** The headers of a stream's request; those that identify the caller (`own`) come last. */
export function streamHeaders(context: OperationContext, own: Record<string, string>): Record<string, string> {
  return {
    ...context.headers,
    ...(context.traceparent !== undefined && { traceparent: context.traceparent }),
    ...(context.tracestate !== undefined && { tracestate: context.tracestate }),
    ...own,
  };
}

/** @param what continues "the stream broke: …" */
export function brokenStream(name: string, what: string, cause?: unknown): ToolyardError {
  return new ToolyardError("UPSTREAM_UNAVAILABLE", `The stream of the subgraph "${name}" broke: ${what}.`, { cause });
}
