import { CONNECTION_HEADERS } from "@toolyard/service-kit/http/connection-headers.ts";
import { PASSAGE_HEADERS } from "@toolyard/service-kit/http/passage.ts";
import { cgiName } from "@toolyard/service-kit/http/request-ambiguity.ts";
import { REFERRING, rewriteReferring, type References } from "../mcp/references.ts";

/** The facts that the proxy needs from a request's headers, and the headers that go on to the replica, found in one pass. */
export interface RequestHead {
  host: string | undefined;
  origin: string | undefined;
  authorization: string | undefined;
  sessionId: string | undefined;
  mcpMethod: string | undefined;
  mcpName: string | undefined;
  accept: string | undefined;
  requestId: string | undefined;
  traceparent: string | undefined;
  /** The protocol to which the connection should be upgraded. */
  upgrade: string | undefined;
  /** The gateway's, where it says that it passes this on, and the client's facts as the gateway states them. */
  gatewayToken: string | undefined;
  clientAddress: string | undefined;
  clientHost: string | undefined;
  clientUpgrade: string | undefined;
  publicUrl: string | undefined;
  /** Of a CORS preflight. */
  requestedMethod: string | undefined;
  requestedHeaders: string | undefined;
  /** Bytes, if the client declares them. */
  contentLength: number | undefined;
  chunked: boolean;
  /** Name, value, name, value…: the end-to-end headers that a replica may see. */
  passed: string[];
  /** Likewise: the content codings that the client takes. */
  codings: string[];
}

type Known = "drop" | "connection" | keyof Omit<RequestHead, "passed" | "codings" | "contentLength" | "chunked">;

/**
 * Headers that do not simply go on. Dropped: those of one connection, the caller's credentials, headers that only proxies may set,
 * and those that this proxy has answered for the replica (Origin, Expect).
 */
const KNOWN = new Map<string, Known | "content-length" | "transfer-encoding">([
  ...[
    ...CONNECTION_HEADERS,
    "http2-settings",
    "expect",
    "cookie",
    "cookie2",
    // CGI's HTTP_PROXY: a variable by which programs find their own proxy (https://httpoxy.org).
    "proxy",
    "forwarded",
    "via",
    "x-real-ip",
    "x-original-url",
    "x-rewrite-url",
    "access-control-request-private-network",
  ].map((name): [string, "drop"] => [name, "drop"]),
  ["connection", "connection"],
  ["content-length", "content-length"],
  ["transfer-encoding", "transfer-encoding"],
  ["host", "host"],
  ["origin", "origin"],
  ["authorization", "authorization"],
  ["mcp-session-id", "sessionId"],
  ["x-request-id", "requestId"],
  ["traceparent", "traceparent"],
  ["upgrade", "upgrade"],
  [PASSAGE_HEADERS.token, "gatewayToken"],
  [PASSAGE_HEADERS.clientAddress, "clientAddress"],
  [PASSAGE_HEADERS.clientHost, "clientHost"],
  [PASSAGE_HEADERS.clientUpgrade, "clientUpgrade"],
  [PASSAGE_HEADERS.publicUrl, "publicUrl"],
  ["access-control-request-method", "requestedMethod"],
  ["access-control-request-headers", "requestedHeaders"],
]);
/** Read and passed on. */
const NOTED = new Map<string, "mcpMethod" | "mcpName" | "accept">([
  ["mcp-method", "mcpMethod"],
  ["mcp-name", "mcpName"],
  ["accept", "accept"],
]);

/** @param raw As IncomingMessage.rawHeaders: name, value, name, value… A header given twice that the proxy acts on counts the first time. */
export function readRequestHead(raw: readonly string[]): RequestHead {
  const head: RequestHead = {
    host: undefined,
    origin: undefined,
    authorization: undefined,
    sessionId: undefined,
    mcpMethod: undefined,
    mcpName: undefined,
    accept: undefined,
    requestId: undefined,
    traceparent: undefined,
    upgrade: undefined,
    gatewayToken: undefined,
    clientAddress: undefined,
    clientHost: undefined,
    clientUpgrade: undefined,
    publicUrl: undefined,
    requestedMethod: undefined,
    requestedHeaders: undefined,
    contentLength: undefined,
    chunked: false,
    passed: [],
    codings: NONE,
  };
  const { passed } = head;
  let connection: string | undefined;
  for (let i = 0; i < raw.length; i += 2) {
    const original = raw[i] ?? "";
    const value = raw[i + 1] ?? "";
    const name = original.toLowerCase();
    const known = KNOWN.get(name);
    if (known === undefined) {
      const isPlain = PLAIN_NAME.test(name);
      if (isReserved(name) || (!isPlain && isReservedToCgi(name))) continue;
      const noted = NOTED.get(name);
      if (noted !== undefined) head[noted] ??= value;
      if (name === CODINGS || (!isPlain && cgiName(name) === CODINGS)) head.codings = [...head.codings, name, value];
      else passed.push(name, value);
    } else if (known === "drop") continue;
    else if (known === "content-length") head.contentLength = Number(value);
    else if (known === "transfer-encoding") head.chunked = true;
    else if (known === "connection") connection = connection === undefined ? value : `${connection},${value}`;
    else head[known] ??= value;
  }
  if (connection !== undefined && !isPlainConnection(connection)) {
    dropNamed(passed, connection);
    dropNamed(head.codings, connection);
  }
  return head;
}

const CODINGS = "accept-encoding";
const NONE: string[] = [];

/** A name that every server reads alike. */
const PLAIN_NAME = /^[a-z0-9-]*$/;

/** Headers that only proxies may set. */
function isReserved(name: string): boolean {
  return name.startsWith("x-toolyard-") || name.startsWith("x-forwarded-");
}

/** Whether a replica that reads headers as CGI programs do would take it for one that this proxy sets or keeps back. */
function isReservedToCgi(name: string): boolean {
  const read = cgiName(name);
  return isReserved(read) || KNOWN.has(read) || NOTED.has(read);
}

function isPlainConnection(value: string): boolean {
  return value === "keep-alive" || value === "close" || value === "Keep-Alive" || value === "Close";
}

/** Removes headers that a Connection header names, which are for this hop only. */
function dropNamed(pairs: string[], connection: string): void {
  const names = new Set(connection.split(",").map((name) => name.trim().toLowerCase()));
  for (let i = pairs.length - 2; i >= 0; i -= 2) if (names.has(pairs[i] ?? "")) pairs.splice(i, 2);
}

const DROPPED_OF_RESPONSE = new Set<string>([
  ...CONNECTION_HEADERS,
  // Headers by which one tool's answer could act on another's, since all tools share the proxy's origin.
  "set-cookie",
  "clear-site-data",
  "service-worker-allowed",
  "alt-svc",
  "strict-transport-security",
  "x-request-id",
  "mcp-session-id",
  // Rewritten for clients of the route.
  ...REFERRING,
]);

/** Appends those of a replica's headers that go to the client. `headers` in undici's form: lower-case names. */
export function passResponseHeaders(
  headers: Readonly<Record<string, string | string[] | undefined>>,
  to: string[],
): void {
  const connection = headers.connection;
  const named =
    connection === undefined || connection === "keep-alive" || connection === "close"
      ? null
      : new Set(
          String(connection)
            .split(",")
            .map((name) => name.trim().toLowerCase()),
        );
  for (const name in headers) {
    if (DROPPED_OF_RESPONSE.has(name) || name.startsWith("access-control-") || named?.has(name)) continue;
    const value = headers[name];
    if (typeof value === "string") to.push(name, value);
    else if (value !== undefined) for (const item of value) to.push(name, item);
  }
}

/** Appends those of a replica's headers that contain references. @param references Called if there is one. */
export function passReferringHeaders(
  headers: Readonly<Record<string, string | string[] | undefined>>,
  to: string[],
  references: () => References,
): void {
  for (const name of REFERRING) {
    const value = headers[name];
    if (value === undefined) continue;
    for (const item of typeof value === "string" ? [value] : value) {
      const rewritten = rewriteReferring(name, item, references());
      if (rewritten !== null) to.push(name, rewritten);
    }
  }
}
