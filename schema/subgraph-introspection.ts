import { ToolyardError, messageOf } from "@toolyard/service-kit";
import { collectBytes } from "@toolyard/service-kit/http/byte-collector.ts";
import { isObject } from "@toolyard/service-kit/json.ts";
import type { SchemaSource } from "./supergraph-config.ts";

const QUERY = "query SubgraphIntrospectQuery { _service { sdl } }";
const MAX_BYTES = 16 * 1_048_576;

/**
 * Asks a running subgraph for its schema (https://www.apollographql.com/docs/graphos/reference/federation/subgraph-spec#query_service).
 * @param options.timeoutMs The longest that it may take, answer included
 * @throws ToolyardError UPSTREAM_UNAVAILABLE saying why, without headers, which may be secrets
 */
export async function introspectSubgraph(
  source: Extract<SchemaSource, { kind: "introspection" }>,
  options: { signal?: AbortSignal | undefined; timeoutMs?: number } = {},
): Promise<string> {
  const { signal, timeoutMs = 5_000 } = options;
  const deadline = AbortSignal.timeout(timeoutMs);
  let status: number;
  let body: string;
  try {
    const answer = await fetch(source.url, {
      method: "POST",
      headers: { accept: "application/json", ...source.headers, "content-type": "application/json" },
      body: JSON.stringify({ query: QUERY, operationName: "SubgraphIntrospectQuery" }),
      // Headers meant for one server do not go to another.
      redirect: "error",
      signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
    });
    status = answer.status;
    body = await readText(answer);
  } catch (cause) {
    signal?.throwIfAborted();
    throw unavailable(deadline.aborted ? `it did not answer within ${timeoutMs / 1_000} s` : reasonOf(cause), cause);
  }
  return sdlOf(status, body);
}

async function readText(answer: Response): Promise<string> {
  if (answer.body === null) return "";
  const tooLong = () => new Error(`it answered more than ${MAX_BYTES / 1_048_576} MiB`);
  return new TextDecoder().decode(await collectBytes(answer.body, MAX_BYTES, tooLong));
}

function sdlOf(status: number, body: string): string {
  let answer: unknown;
  try {
    answer = JSON.parse(body);
  } catch (cause) {
    throw unavailable(`it answered HTTP ${status} with something that is not JSON`, cause);
  }
  const { data, errors } = isObject(answer) ? answer : {};
  const service = isObject(data) ? data["_service"] : null;
  const sdl = isObject(service) ? service["sdl"] : null;
  if (typeof sdl === "string" && sdl.trim() !== "") return sdl;
  const [first] = Array.isArray(errors) ? errors : [];
  const said = isObject(first) && typeof first["message"] === "string" ? `: ${first["message"].slice(0, 300)}` : "";
  throw unavailable(`it answered HTTP ${status} without \`_service.sdl\`${said}. Is it a federated subgraph`);
}

function reasonOf(error: unknown): string {
  // fetch says "fetch failed", and has the reason in `cause`.
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : null;
  return code === null ? messageOf(cause) : `the connection failed (${code})`;
}

function unavailable(why: string, cause?: unknown): ToolyardError {
  return new ToolyardError("UPSTREAM_UNAVAILABLE", why, { cause });
}
