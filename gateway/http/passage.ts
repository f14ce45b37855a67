import type { IncomingMessage, ServerResponse } from "node:http";
import type { Readable } from "node:stream";
import { ToolyardError, anonymous, systemCodeOf, type Caller } from "@toolyard/service-kit";
import { bodyStream } from "@toolyard/service-kit/http/body-stream.ts";
import { PASSAGE_HEADERS } from "@toolyard/service-kit/http/passage.ts";
import { Pool, type Dispatcher } from "undici";
import type { GatewayContext } from "../admission/operation-gate.ts";
import type { RouteExchange } from "./direct-routes.ts";
import { HttpRefusal } from "./problem.ts";

/** The proxy to the tools, as the gateway reaches it. */
export interface ProxyAccess {
  /** The URL at which this process reaches the proxy. */
  url: string;
  /** The path that the proxy's public URL has; "" where it has none. */
  prefix: string;
  /** A service token with `internal:passage`, by which the proxy believes what it is told of the client. */
  token: () => Promise<string>;
}

/** Passes requests on to the proxy and its answers back, both as they come: neither is read, changed or kept. */
export interface Passage {
  /** @throws ToolyardError UPSTREAM_UNAVAILABLE when the proxy is away */
  pass(exchange: RouteExchange): Promise<void>;
  /** Ends clients' long-lived streams, and what still runs after `DRAIN_MS`. */
  drain(): void;
  close(): Promise<void>;
}

interface Running {
  exchange: RouteExchange;
  controller: Dispatcher.DispatchController | null;
  /** A stream that ends when its client wants it to. */
  isStream: boolean;
}

const CONNECT_TIMEOUT_MS = 5_000;
/** Shorter than the proxy keeps idle connections, so that a call is not sent on one that it is closing. */
const KEEP_ALIVE_MS = 60_000;
/** As long as the proxy gives its calls at its own end. */
const DRAIN_MS = 30_000;
/** A client that reads nothing of its answer for this long is cut off, as by the proxy. */
const STALLED_CLIENT_MS = 120_000;

/** Of one connection (RFC 9110, section 7.6.1), or said anew here. The proxy decides about all others. */
const NOT_PASSED = new Set([
  ..."connection keep-alive proxy-connection te trailer transfer-encoding upgrade http2-settings".split(" "),
  ..."expect host x-request-id traceparent tracestate".split(" "),
]);
const NOT_PASSED_BACK = new Set(["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"]);
/** By these the parts of Toolyard tell each other who calls. */
const OWN_PREFIX = "x-toolyard-";

export function createPassage(options: {
  proxy: ProxyAccess;
  publicUrl: string | null;
  contextOf: (caller: Caller, request: IncomingMessage, requestId: string) => GatewayContext;
  stalledMs?: number;
}): Passage {
  const { proxy, publicUrl, contextOf, stalledMs = STALLED_CLIENT_MS } = options;
  const pool = new Pool(new URL(proxy.url).origin, {
    connections: null,
    pipelining: 1,
    keepAliveTimeout: KEEP_ALIVE_MS,
    // The proxy has its own for each tool.
    headersTimeout: 0,
    bodyTimeout: 0,
    connect: { timeout: CONNECT_TIMEOUT_MS },
  });
  const running = new Set<Running>();
  let drained: NodeJS.Timeout | undefined;

  function headersOf(exchange: RouteExchange, token: string): string[] {
    const { request, requestId } = exchange;
    const { rawHeaders: raw, headers } = request;
    const named = namesIn(headers.connection);
    const passed: string[] = [];
    for (let at = 0; at < raw.length; at += 2) {
      const name = (raw[at] ?? "").toLowerCase();
      if (NOT_PASSED.has(name) || name.startsWith(OWN_PREFIX) || named?.has(name)) continue;
      passed.push(name, raw[at + 1] ?? "");
    }
    // The caller is for the proxy to know.
    const { clientAddress, traceparent, tracestate } = contextOf(anonymous, request, requestId);
    const own = {
      "x-request-id": requestId,
      traceparent,
      tracestate,
      [PASSAGE_HEADERS.token]: token,
      [PASSAGE_HEADERS.clientAddress]: clientAddress,
      [PASSAGE_HEADERS.clientHost]: headers.host,
      [PASSAGE_HEADERS.clientUpgrade]: headers.upgrade,
      [PASSAGE_HEADERS.publicUrl]: publicUrl,
    };
    for (const [name, value] of Object.entries(own)) if (value) passed.push(name, value);
    return passed;
  }

  function handlerOf(run: Running, done: () => void, failed: (error: Error) => void): Dispatcher.DispatchHandler {
    const { exchange } = run;
    const { request, response, gone } = exchange;
    let stalled: NodeJS.Timeout | undefined;
    return {
      onRequestStart(controller) {
        run.controller = controller;
        if (gone.signal.aborted) controller.abort(new Error("The client went away."));
      },
      onResponseStart(_controller, status, received) {
        if (status < 200) return;
        run.isStream = request.method === "GET" && String(received["content-type"]).startsWith("text/event-stream");
        const answer = answerHeaders(received);
        // The proxy does not read the rest of the body.
        if (!request.complete && received.connection === "close") answer.push("connection", "close");
        response.writeHead(status, answer);
        // Bytes of one packet go out in one; a stream's head does not wait for its first event.
        process.nextTick(flushHead, response);
      },
      onResponseData(controller, chunk) {
        if (response.write(chunk)) return;
        controller.pause();
        stalled = setTimeout(() => response.destroy(), stalledMs).unref();
        response.once("drain", () => {
          clearTimeout(stalled);
          controller.resume();
        });
      },
      onResponseEnd() {
        response.end();
        done();
      },
      onResponseError(_controller, error) {
        clearTimeout(stalled);
        // An answer that has begun can only be cut off; nobody waits for that of a client that is gone.
        if (gone.signal.aborted || response.writableEnded) done();
        else failed(refusalOf(error, run.controller !== null));
      },
    };
  }

  function end({ exchange, controller, isStream }: Running): void {
    if (isStream) exchange.response.end();
    else exchange.response.destroy();
    controller?.abort(new Error("The gateway ends."));
  }

  return {
    async pass(exchange) {
      const { request, gone } = exchange;
      if (request.headers[PASSAGE_HEADERS.token] !== undefined)
        throw new ToolyardError(
          "UPSTREAM_UNAVAILABLE",
          "This call has passed the gateway before: PROXY_URL must be the proxy's own address, not the gateway's.",
        );
      const headers = headersOf(exchange, await proxy.token());
      const run: Running = { exchange, controller: null, isStream: false };
      running.add(run);
      gone.signal.addEventListener("abort", () => run.controller?.abort(new Error("The client went away.")));
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      pool.dispatch(
        {
          path: proxy.prefix + (request.url ?? ""),
          // Node's parser lets no other pass.
          method: (request.method ?? "GET") as Dispatcher.HttpMethod,
          headers,
          body: bodyOf(exchange),
        },
        handlerOf(run, resolve, reject),
      );
      await promise.finally(() => running.delete(run));
    },
    drain() {
      for (const run of running) if (run.isStream) end(run);
      drained = setTimeout(() => running.forEach(end), DRAIN_MS);
    },
    async close() {
      clearTimeout(drained);
      await pool.destroy();
    },
  };
}

/** Null for a request without one. The stream may be destroyed, as is done where the proxy does not want the rest: the request stays. */
function bodyOf({ request }: RouteExchange): Readable | null {
  const { "content-length": length, "transfer-encoding": encoding } = request.headers;
  if (encoding === undefined && !(Number(length) > 0)) return null;
  return bodyStream(request);
}

/** Headers that a Connection header names, which are for this hop only. */
function namesIn(connection: string | undefined): Set<string> | null {
  if (connection === undefined || /^(keep-alive|close)$/i.test(connection)) return null;
  return new Set(connection.split(",").map((name) => name.trim().toLowerCase()));
}

/** In undici's form: names in lower case. */
function answerHeaders(received: Readonly<Record<string, string | string[] | undefined>>): string[] {
  const answer: string[] = [];
  for (const [name, value] of Object.entries(received)) {
    if (value === undefined || NOT_PASSED_BACK.has(name)) continue;
    for (const each of typeof value === "string" ? [value] : value) answer.push(name, each);
  }
  return answer;
}

function flushHead(response: ServerResponse): void {
  if (!response.writableEnded && !response.destroyed) response.flushHeaders();
}

function refusalOf(cause: Error, isSent: boolean): ToolyardError {
  const code = systemCodeOf(cause);
  if (code === "UND_ERR_INVALID_ARG")
    return new HttpRefusal(400, "The request's path or headers hold what HTTP does not allow.");
  const message = isSent
    ? "The proxy to the tools ended the connection before it answered. The call may have had effect."
    : "The proxy to the tools cannot be reached. Try again.";
  return new ToolyardError("UPSTREAM_UNAVAILABLE", message, { cause, ...(!isSent && { retryAfterSeconds: 1 }) });
}
