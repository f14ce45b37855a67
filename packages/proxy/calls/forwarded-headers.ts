import { cgiName } from "@toolyard/service-kit/http/request-ambiguity.ts";
import type { Call } from "./call.ts";
import { isMcpEndpoint } from "./call-path.ts";
import type { Replica } from "../routing/replica.ts";

const ENCODING: ReadonlySet<string> = new Set(["accept-encoding"]);

/**
 * The headers of the request to a replica: the client's end-to-end ones, and the caller's identity as this proxy states it instead of the client.
 * @param own Headers for this target, set by the proxy.
 * @param addressee The address of the proxy where it differs from the clients' Host header, as of `addresseeOf`.
 */
export function forwardedHeaders(
  call: Call,
  replica: Replica,
  addressee: readonly string[] | null,
  own: readonly string[] = replica.headers,
): string[] {
  const { head, request, requestId, caller, session } = call;
  let headers = replica.ownHeaders ? withoutNames(head.passed, replica.ownHeaders) : head.passed.slice();
  // Compressed, the answer could not be read.
  if (call.isStream || isMcpRequest(call)) headers = withoutNames(headers, ENCODING);
  headers.push(...own);
  headers.push("x-request-id", requestId);
  if (caller?.subject) headers.push("x-toolyard-user", caller.subject);
  headers.push("x-forwarded-for", request.socket.remoteAddress ?? "");
  if (addressee !== null) headers.push(...addressee);
  else {
    headers.push("x-forwarded-proto", "http");
    if (head.host !== undefined) headers.push("x-forwarded-host", head.host);
  }
  headers.push("traceparent", call.traceparent);
  if (session) headers.push("mcp-session-id", session.ownId);
  return headers;
}

/** The headers that tell a replica by which protocol and name clients reach it. */
export function addresseeOf({ protocol, host }: URL): readonly string[] {
  return ["x-forwarded-proto", protocol.slice(0, -1), "x-forwarded-host", host];
}

function isMcpRequest({ request, path, deployment }: Call): boolean {
  return request.method === "POST" && deployment !== null && isMcpEndpoint(path.path, deployment);
}

function withoutNames(pairs: readonly string[], names: ReadonlySet<string>): string[] {
  return pairs.filter((_, index) => !names.has(cgiName(pairs[index - (index % 2)] ?? "")));
}
