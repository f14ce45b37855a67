import { LRUCache } from "lru-cache";
import { ToolyardError, type Warn } from "@toolyard/service-kit";
import { AWAY_RETRY_SECONDS } from "@toolyard/service-kit/errors/errors.ts";
import { isObject } from "@toolyard/service-kit/json.ts";
import { parseExactly } from "../../formats/exact-json.ts";
import { createHttpSubscriber } from "./http-subscription.ts";
import { createSseSubscriber } from "./sse-subscription.ts";
import type {
  OperationContext,
  SubgraphClient,
  SubgraphError,
  SubgraphRequest,
  SubgraphResponse,
} from "./subgraph-client.ts";
import { variablesTextOf } from "./subgraph-client.ts";
import { parseSubgraphResponse } from "./subgraph-response.ts";
import { WireProblem } from "@toolyard/service-kit/http/wire/response-reader.ts";
import type { WireResponse } from "./wire/response-parser.ts";
import { WireClosed } from "./wire/wire-connection.ts";
import { createWirePool, WireTimeout, WireUnreached } from "./wire/wire-pool.ts";

export interface HttpClientOptions {
  /** The subgraph's name. */
  name: string;
  /** The URL at which it answers GraphQL over HTTP, and subscriptions. */
  url: string;
  /** The protocol of its subscriptions: graphql-transport-ws unless it speaks server-sent events only. */
  subscriptions?: "graphql-ws" | "sse";
  /** The headers that say on whose behalf an operation runs: the signed caller, the request id. */
  headersFor(context: OperationContext, isMutation?: boolean): Promise<Record<string, string>> | Record<string, string>;
  /** The longest that the subgraph may take to begin its answer, and between two parts of it. */
  timeoutMs?: number;
  connectTimeoutMs?: number;
  maxResponseBytes?: number;
  maxConnections?: number;
  /** How many events of one subscription may wait here while the client is slow. */
  maxBufferedEvents?: number;
}

/** Calls a subgraph over HTTP, on connections that are kept. */
export function createHttpClient(options: HttpClientOptions): SubgraphClient {
  const { name, headersFor, timeoutMs = 30_000, connectTimeoutMs = 5_000 } = options;
  const { maxResponseBytes = 32 * 1_048_576, maxConnections = 128, maxBufferedEvents = 10_000 } = options;
  const url = new URL(options.url);
  const pool = createWirePool({
    origin: url,
    maxConnections,
    connectTimeoutMs,
    timeoutMs,
    idleMs: 30_000,
    maxBodyBytes: maxResponseBytes,
  });
  const createSubscriber = options.subscriptions === "sse" ? createSseSubscriber : createHttpSubscriber;
  const subscriber = createSubscriber({ name, url, headersFor, connectTimeoutMs, maxBufferedEvents });
  const fixedHead =
    `POST ${url.pathname}${url.search} HTTP/1.1\r\nhost: ${url.host}\r\nconnection: keep-alive\r\n` +
    "content-type: application/json\r\naccept: application/graphql-response+json, application/json\r\n" +
    // Left out, it would mean any.
    "accept-encoding: identity\r\n";

  /** Queries as JSON, as many as there are in the plans in use. */
  const queries = new LRUCache<string, string>({
    max: 10_000,
    maxSize: 4_000_000,
    maxEntrySize: 250_000,
    sizeCalculation: (text) => text.length,
  });
  function textOf(query: string): string {
    const known = queries.get(query);
    if (known !== undefined) return known;
    const text = JSON.stringify(query);
    queries.set(query, text);
    return text;
  }

  /** The request as text where it is all ASCII, else as bytes. */
  function requestOf(request: SubgraphRequest, own: Headers): string | Buffer {
    const { query, context } = request;
    let head = fixedHead + fieldsOf(context.headers);
    if (context.traceparent !== undefined) head += `traceparent: ${valueOf("traceparent", context.traceparent)}\r\n`;
    if (context.tracestate !== undefined) head += `tracestate: ${valueOf("tracestate", context.tracestate)}\r\n`;
    head += fieldsOf(own);
    const body = `{"query":${textOf(query)},"variables":${variablesTextOf(request)}}`;
    const length = Buffer.byteLength(body);
    head += `content-length: ${length}\r\n\r\n`;
    return length === body.length ? head + body : Buffer.concat([Buffer.from(head, "latin1"), Buffer.from(body)]);
  }

  function ask(request: SubgraphRequest, own: Headers): Promise<SubgraphResponse> {
    const { isMutation = false, signal, context } = request;
    const bytes = requestOf(request, own);
    return new Promise((resolve) => {
      const onAbort = () => {
        takeBack();
        resolve({ errors: [transportError(name, signal.reason)] });
      };
      const takeBack = pool.send({
        request: bytes,
        isRepeatable: !isMutation,
        resolve(response) {
          signal.removeEventListener("abort", onAbort);
          request.onStatus?.(response.status);
          resolve(readResponse(name, response, context.warn));
        },
        reject(error) {
          signal.removeEventListener("abort", onAbort);
          resolve({ errors: [transportError(name, error)] });
        },
      });
      signal.addEventListener("abort", onAbort, { once: true });
      if (signal.aborted) onAbort();
    });
  }

  return {
    name,
    url,
    execute(request) {
      const refuse = (error: unknown): SubgraphResponse => ({ errors: [transportError(name, error)] });
      try {
        const own = headersFor(request.context, request.isMutation);
        return own instanceof Promise ? own.then((headers) => ask(request, headers)).catch(refuse) : ask(request, own);
      } catch (error) {
        return Promise.resolve(refuse(error));
      }
    },
    subscribe: (request) => subscriber.subscribe(request),
    async close() {
      await subscriber.close();
      pool.close();
    },
  };
}

type Headers = Record<string, string>;

function fieldsOf(headers: Headers | undefined): string {
  let fields = "";
  for (const name in headers) {
    const value = headers[name];
    if (value !== undefined) fields += `${name}: ${valueOf(name, value)}\r\n`;
  }
  return fields;
}

/** @throws ToolyardError for a value that would end the field, or that has no place in Latin-1 */
function valueOf(name: string, value: string): string {
  if (/[^\t\x20-\x7e\x80-\xff]/.test(value))
    throw new ToolyardError("BAD_USER_INPUT", `The header ${name} has characters that may not be in a header.`);
  return value;
}

/** Takes a well-formed GraphQL response whatever its status; anything else is an unavailable subgraph. */
function readResponse(name: string, response: WireResponse, warn: Warn | undefined): SubgraphResponse {
  const { status, contentType, contentEncoding, body } = response;
  if (!/^application\/(?:graphql-response\+)?json\b/i.test(contentType)) {
    return unavailable(
      name,
      `HTTP ${status} with ${contentType === "" ? "no content type" : contentType.slice(0, 80)}`,
    );
  }
  if (contentEncoding !== "" && contentEncoding !== "identity")
    return unavailable(name, `HTTP ${status} in an encoding that was not asked for (${contentEncoding.slice(0, 80)})`);
  let parsed: unknown;
  try {
    // Some writers begin with a byte order mark, which JSON's readers may ignore (RFC 8259).
    parsed = parseExactly(body.charCodeAt(0) === 0xfeff ? body.slice(1) : body);
  } catch {
    return unavailable(name, `HTTP ${status} with a body that is not JSON`);
  }
  if (warn) passWarnings(parsed, warn);
  return (
    parseSubgraphResponse(parsed) ?? unavailable(name, `HTTP ${status} with a body that is not a GraphQL response`)
  );
}

function passWarnings(response: unknown, warn: Warn): void {
  const extensions = isObject(response) ? response["extensions"] : null;
  const warnings = isObject(extensions) ? extensions["warnings"] : null;
  if (!Array.isArray(warnings)) return;
  for (const warning of warnings) if (typeof warning === "string") warn(warning);
}

function unavailable(name: string, what: string): SubgraphResponse {
  const message = `The subgraph "${name}" is unavailable: it answered ${what}.`;
  return { errors: [{ message, extensions: { code: "UPSTREAM_UNAVAILABLE" } }] };
}

/** The public reason for a missing answer, without the operator's details. */
function transportError(name: string, error: unknown): SubgraphError {
  const unavailable = (reason: string, code = "UPSTREAM_UNAVAILABLE"): SubgraphError => ({
    message: `The subgraph "${name}" is unavailable: ${reason}.`,
    extensions: { code },
  });
  if (error instanceof WireUnreached) {
    const { message, extensions } = transportError(name, error.cause);
    return { message, extensions: { ...extensions, retryAfterSeconds: AWAY_RETRY_SECONDS } };
  }
  if (error instanceof WireTimeout)
    return { message: `The subgraph "${name}" did not answer in time.`, extensions: { code: "TIMEOUT" } };
  if (error instanceof WireProblem) return unavailable(`it ${error.message}`);
  if (error instanceof WireClosed) return unavailable("the connection failed: it was closed before an answer came");
  if (error instanceof ToolyardError) return unavailable(error.message.replace(/\.$/, ""), error.code);
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return unavailable(code === "" ? "the connection failed" : `the connection failed (${code})`);
}
