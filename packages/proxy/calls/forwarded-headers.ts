import { TRACE_HEADER } from "@toolyard/bridge/tracing/trace-header.ts";
import { cgiName } from "@toolyard/service-kit/http/request-ambiguity.ts";
import type { Call } from "./call.ts";
import { isMcpEndpoint } from "./call-path.ts";
import type { Replica } from "../routing/replica.ts";

/**
 * The headers of the request to a replica: the client's end-to-end ones, and the caller's identity as this proxy states it instead of the client.
 * @param own Headers for this target, set by the proxy.
 */
export function forwardedHeaders(call: Call, replica: Replica, own: readonly string[] = replica.headers): string[] {
  const { head, entrance, requestId, caller, session } = call;
  const { addressee } = entrance.site;
  // Compressed, an answer that has to be read could not be.
  const theirs = call.isStream || isMcpRequest(call) ? head.passed : [...head.passed, ...head.codings];
  const headers = replica.ownHeaders ? withoutNames(theirs, replica.ownHeaders) : theirs.slice();
  headers.push(...own, "x-request-id", requestId);
  if (caller?.subject) headers.push("x-toolyard-user", caller.subject);
  headers.push("x-forwarded-for", entrance.clientAddress);
  if (addressee !== null) headers.push(...addressee);
  else {
    headers.push("x-forwarded-proto", "http");
    if (head.host !== undefined) headers.push("x-forwarded-host", head.host);
  }
  headers.push("traceparent", call.traceparent);
  if (call.span !== null && replica.target.token !== "") {
    call.bridge = replica;
    headers.push(TRACE_HEADER, "record");
  }
  if (session) headers.push("mcp-session-id", session.ownId);
  return headers;
}

function isMcpRequest({ request, path, deployment }: Call): boolean {
  return request.method === "POST" && deployment !== null && isMcpEndpoint(path.path, deployment);
}

function withoutNames(pairs: readonly string[], names: ReadonlySet<string>): string[] {
  return pairs.filter((_, index) => !names.has(cgiName(pairs[index - (index % 2)] ?? "")));
}
