import { ownUrl } from "@toolyard/service-kit/http/origin-path.ts";
import { createParser } from "eventsource-parser";
import type { Dispatcher } from "undici";
import type { Budget } from "../calls/budget.ts";

/** A server of HTTP+SSE (2024-11-05) as it is reached: GET opens a stream, whose first event names the URL for messages. */
export interface StreamServer {
  readonly target: { url: string; remote: boolean };
  /** Sent to nobody but the server. */
  dispatcher(): Dispatcher;
  /** Name, value…: further headers for the server. */
  readonly headers: readonly string[];
  /** The bytes of incomplete events held for all its streams; left out when there is only one stream. */
  readonly held?: Budget;
}

export interface StreamEvents {
  /** Path and query for messages. Called once, first. */
  onEndpoint(path: string): void;
  /** Data of an event of the kind "message". Answers how many messages there are in it. */
  onMessage(data: string): number;
  /**
   * Called before the first read and after each, whatever was read: waits before the next one, or throws an error that ends the stream.
   * `events` are those, each of several messages in one, comments and lines that are neither.
   */
  onRead(read: { bytes: number; events: number }): Promise<void> | undefined;
}

/** The other end is not such a server, or its stream broke. The message is the end of a sentence. */
export class StreamError extends Error {
  override readonly name = "StreamError";
  /** Whether there is such a server, though it is unusable. */
  readonly isAnswered: boolean;
  constructor(message: string, isAnswered = false) {
    super(message);
    this.isAnswered = isAnswered;
  }
}

const MAX_REDIRECTS = 3;
const HEAD_TIMEOUT_MS = 30_000;
/** The limit for the body of the answer to a message, which is empty or a word. */
const REST_TIMEOUT_MS = 1_000;

/**
 * Opens the stream at a path and reads it until it ends. Redirects are followed within the server.
 * @throws StreamError, or undici's, when it ends: every end is a failure.
 */
export async function readEventStream(
  server: StreamServer,
  options: { path: string; headers: readonly string[]; maxEventBytes: number; signal: AbortSignal } & StreamEvents,
): Promise<never> {
  const { headers, maxEventBytes, signal, onEndpoint, onMessage, onRead } = options;
  const { answer, path } = await send(server, {
    method: "GET",
    path: options.path,
    headers: ["accept", "text/event-stream", "cache-control", "no-cache", ...headers],
    body: null,
    signal,
  });
  const { statusCode, body } = answer;
  const type = String(answer.headers["content-type"]);
  if (statusCode !== 200 || !type.includes("text/event-stream")) {
    body.on("error", () => undefined).destroy();
    throw new StreamError(
      statusCode === 200 ? "it did not answer GET with an event stream" : `it answered GET with HTTP ${statusCode}`,
    );
  }
  let isOpen = false;
  let failure: StreamError | null = null;
  /** Bytes that came after the last event. */
  let pending = 0;
  let events = 0;
  const give = (bytes: number): void => {
    const given = Math.min(bytes, pending);
    pending -= given;
    server.held?.give(given);
  };
  const parser = createParser({
    maxBufferSize: maxEventBytes,
    onComment(comment) {
      events += 1;
      give(comment.length + 2);
    },
    onEvent({ event, data }) {
      give(pending);
      if (isOpen && failure === null && (event === undefined || event === "message")) {
        events += onMessage(data);
        return;
      }
      events += 1;
      if (isOpen || failure !== null) return;
      const url = event === "endpoint" ? ownUrl(data, path, server.target) : null;
      if (url === null) {
        failure = new StreamError(
          event === "endpoint"
            ? "its endpoint for messages is elsewhere, where nothing is sent"
            : "its stream does not begin with an endpoint event",
          event === "endpoint",
        );
        return;
      }
      isOpen = true;
      onEndpoint(url.pathname + url.search);
    },
    onError(error) {
      events += 1;
      if (error.type === "max-buffer-size-exceeded")
        failure = new StreamError(`an event of its stream is longer than ${maxEventBytes} bytes`);
    },
  });
  const decoder = new TextDecoder();
  // undici's body yields Buffers unless an encoding was set on it.
  try {
    await onRead({ bytes: 0, events: 0 });
    for await (const chunk of body as AsyncIterable<Buffer>) {
      if (server.held?.take(chunk.length) === false) throw new StreamError("it sends too many long messages at once");
      pending += chunk.length;
      events = 0;
      parser.feed(decoder.decode(chunk, { stream: true }));
      // Set by the parser's callbacks, which TypeScript does not see.
      if ((failure as StreamError | null) !== null) throw failure as unknown as StreamError;
      const wait = onRead({ bytes: chunk.length, events });
      if (wait) await wait;
    }
  } finally {
    give(pending);
  }
  throw new StreamError("it ended its event stream");
}

/** Posts one message. @throws StreamError when it is not accepted. */
export async function postMessage(
  server: StreamServer,
  options: { path: string; headers: readonly string[]; text: string; signal: AbortSignal },
): Promise<void> {
  const { path, headers, text, signal } = options;
  const { answer } = await send(server, {
    method: "POST",
    path,
    headers: ["content-type", "application/json", ...headers],
    body: text,
    signal,
  });
  const { body } = answer;
  // The answer to the message comes on the stream: the rest is read only to keep the connection usable.
  body.on("error", () => undefined);
  const timer = setTimeout(() => body.destroy(), REST_TIMEOUT_MS).unref();
  body
    .dump({ limit: 64 * 1024, signal })
    .catch(() => undefined)
    .finally(() => clearTimeout(timer));
  if (answer.statusCode < 200 || answer.statusCode >= 300)
    throw new StreamError(`it answered a message with HTTP ${answer.statusCode}`);
}

async function send(
  server: StreamServer,
  request: { method: "GET" | "POST"; path: string; headers: string[]; body: string | null; signal: AbortSignal },
): Promise<{ answer: Dispatcher.ResponseData; path: string }> {
  let { path } = request;
  for (let hops = 0; ; hops += 1) {
    const answer = await server.dispatcher().request({
      ...request,
      origin: new URL(server.target.url).origin,
      path,
      headers: [...request.headers, ...server.headers],
      headersTimeout: HEAD_TIMEOUT_MS,
      bodyTimeout: 0,
    });
    const { statusCode, headers } = answer;
    if (![301, 302, 307, 308].includes(statusCode) || (statusCode === 302 && request.method === "POST"))
      return { answer, path };
    answer.body.on("error", () => undefined).destroy();
    const to = ownUrl(String(headers.location), path, server.target);
    if (to === null) throw new StreamError("it redirects elsewhere, which is not followed");
    if (hops === MAX_REDIRECTS) throw new StreamError("it redirects in a circle");
    path = to.pathname + to.search;
  }
}
