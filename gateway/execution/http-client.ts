import { ToolyardError } from "@toolyard/service-kit";
import { createConnections } from "./http-connections.ts";
import { createHttpSubscriber } from "./http-subscription.ts";
import { createLruCache } from "./lru-cache.ts";
import { createSseSubscriber } from "./sse-subscription.ts";
import type { OperationContext, SubgraphClient, SubgraphError, SubgraphResponse } from "./subgraph-client.ts";

export interface HttpClientOptions {
  /** The subgraph's name. */
  name: string;
  /** Where it answers GraphQL over HTTP, and subscriptions. */
  url: string;
  /** How it is subscribed to: by graphql-transport-ws unless it speaks server-sent events only. */
  subscriptions?: "graphql-ws" | "sse";
  /** The headers that say on whose behalf an operation runs: the signed caller, the request id. */
  headersFor(context: OperationContext): Promise<Record<string, string>> | Record<string, string>;
  /** The longest that the subgraph may take to begin its answer, and between two parts of it. */
  timeoutMs?: number;
  connectTimeoutMs?: number;
  maxResponseBytes?: number;
  maxConnections?: number;
  /** Events of one subscription that may wait here while the client is slow. */
  maxBufferedEvents?: number;
}

/** Calls a subgraph over HTTP, on connections that are kept. */
export function createHttpClient(options: HttpClientOptions): SubgraphClient {
  const { name, headersFor, timeoutMs = 30_000, connectTimeoutMs = 5_000 } = options;
  const { maxResponseBytes = 32 * 1_048_576, maxConnections = 128, maxBufferedEvents = 10_000 } = options;
  const url = new URL(options.url);
  const path = `${url.pathname}${url.search}`;
  const connections = createConnections(url.origin, maxConnections, {
    pipelining: 1,
    connect: { timeout: connectTimeoutMs },
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    keepAliveTimeout: 30_000,
  });
  const createSubscriber = options.subscriptions === "sse" ? createSseSubscriber : createHttpSubscriber;
  const subscriber = createSubscriber({ name, url, headersFor, connectTimeoutMs, maxBufferedEvents });

  /** Queries as JSON: there are as many as the plans in use have. */
  const texts = createLruCache<string>({ maxEntries: 10_000, maxWeight: 4_000_000 });
  function textOf(query: string): string {
    const known = texts.get(query);
    if (known !== undefined) return known;
    const fresh = JSON.stringify(query);
    texts.set(query, fresh, query.length);
    return fresh;
  }

  /** @param headers names and values in turn */
  function send(body: string, headers: string[], signal: AbortSignal): Promise<Received> {
    return new Promise((resolve, reject) => {
      const chunks: Buffer[] = [];
      let size = 0;
      let status = 0;
      let contentType = "";
      let abort: ((reason?: Error) => void) | null = null;
      const connection = connections.take();
      const onAbort = () => {
        const reason = asError(signal.reason);
        abort?.(reason);
        reject(reason);
      };
      signal.addEventListener("abort", onAbort, { once: true });
      const done = () => {
        signal.removeEventListener("abort", onAbort);
        connections.give(connection);
      };
      // undici's handlers of raw headers: those of parsed ones cost a fifth of the whole request.
      connection.client.dispatch(
        { path, method: "POST", headers, body },
        {
          onConnect(abortRequest) {
            abort = abortRequest;
            if (signal.aborted) abort(asError(signal.reason));
          },
          onHeaders(statusCode, rawHeaders) {
            // Of a 1xx there is more to come.
            status = statusCode;
            contentType = contentTypeOf(rawHeaders);
            return true;
          },
          onData(chunk) {
            size += chunk.length;
            if (size <= maxResponseBytes) chunks.push(chunk);
            else abort?.(new ToolyardError("UPSTREAM_UNAVAILABLE", `It answered more than ${maxResponseBytes} bytes.`));
            return true;
          },
          onComplete() {
            done();
            const only = chunks.length === 1 ? chunks[0] : undefined;
            resolve({ status, contentType, body: (only ?? Buffer.concat(chunks)).toString("utf8") });
          },
          onError(error) {
            done();
            reject(error);
          },
        },
      );
    });
  }

  return {
    name,
    async execute({ query, variables, variablesText = JSON.stringify(variables), context, signal }) {
      try {
        const own = headersFor(context);
        const headers = [...baseHeaders];
        addHeaders(headers, context.headers);
        if (context.traceparent !== undefined) headers.push("traceparent", context.traceparent);
        addHeaders(headers, own instanceof Promise ? await own : own);
        const body = `{"query":${textOf(query)},"variables":${variablesText}}`;
        return readResponse(name, await send(body, headers, signal));
      } catch (error) {
        return { errors: [transportError(name, error)] };
      }
    },
    subscribe: (request) => subscriber.subscribe(request),
    async close() {
      await subscriber.close();
      await connections.close();
    },
  };
}

const baseHeaders: readonly string[] = [
  "content-type",
  "application/json",
  "accept",
  "application/graphql-response+json, application/json",
];

function addHeaders(headers: string[], more: Record<string, string> | undefined): void {
  for (const name in more) {
    const value = more[name];
    if (value !== undefined) headers.push(name, value);
  }
}

function contentTypeOf(rawHeaders: readonly Buffer[]): string {
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i];
    if (name?.length === 12 && name.toString("latin1").toLowerCase() === "content-type")
      return rawHeaders[i + 1]?.toString("latin1") ?? "";
  }
  return "";
}

interface Received {
  status: number;
  contentType: string;
  body: string;
}

/** Takes a well-formed GraphQL response whatever its status; anything else is an unavailable subgraph. */
function readResponse(name: string, { status, contentType, body }: Received): SubgraphResponse {
  if (!/^application\/(?:graphql-response\+)?json\b/i.test(contentType)) {
    return unavailable(
      name,
      `HTTP ${status} with ${contentType === "" ? "no content type" : contentType.slice(0, 80)}`,
    );
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    return unavailable(name, `HTTP ${status} with a body that is not JSON`);
  }
  return (
    parseSubgraphResponse(parsed) ?? unavailable(name, `HTTP ${status} with a body that is not a GraphQL response`)
  );
}

function unavailable(name: string, what: string): SubgraphResponse {
  const message = `The subgraph "${name}" is unavailable: it answered ${what}.`;
  return { errors: [{ message, extensions: { code: "UPSTREAM_UNAVAILABLE" } }] };
}

/** @returns null when it is not a GraphQL response. */
export function parseSubgraphResponse(value: unknown): SubgraphResponse | null {
  if (!isObject(value)) return null;
  const { data, errors } = value;
  if (data === undefined && !Array.isArray(errors)) return null;
  if (data !== undefined && data !== null && !isObject(data)) return null;
  if (errors === undefined || errors === null) return { data };
  if (!Array.isArray(errors) || (errors.length === 0 && data === undefined)) return null;
  return { data, errors: errors.map(parseError) };
}

function parseError(value: unknown): SubgraphError {
  if (!isObject(value)) return { message: "An error that is not described." };
  const { message, path, extensions } = value;
  const isPath = Array.isArray(path) && path.every((key) => typeof key === "string" || typeof key === "number");
  return {
    message: typeof message === "string" ? message : "An error without a message.",
    ...(isPath && { path }),
    ...(isObject(extensions) && { extensions }),
  };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const timeoutCodes = new Set(["UND_ERR_HEADERS_TIMEOUT", "UND_ERR_BODY_TIMEOUT", "UND_ERR_CONNECT_TIMEOUT"]);

function transportError(name: string, error: unknown): SubgraphError {
  if (error instanceof ToolyardError) {
    return { message: `The subgraph "${name}" is unavailable: ${error.message}`, extensions: { code: error.code } };
  }
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (timeoutCodes.has(code)) {
    return { message: `The subgraph "${name}" did not answer in time.`, extensions: { code: "TIMEOUT" } };
  }
  const reason = code === "" ? "the connection failed" : `the connection failed (${code})`;
  return { message: `The subgraph "${name}" is unavailable: ${reason}.`, extensions: { code: "UPSTREAM_UNAVAILABLE" } };
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error("The request was cancelled.");
}
