import { timingSafeEqual } from "node:crypto";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { jsonProblem } from "@toolyard/service-kit/errors/json-text.ts";

import { stackOf, ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import { readBytes, textOf } from "@toolyard/service-kit/http/read-body.ts";
import { createHostPolicy } from "@toolyard/service-kit/http/hosts.ts";
import { classify, type RequestHeaders, SESSION_VERSIONS } from "./protocol/era.ts";
import { keepDigits, refuse } from "./protocol/exchange.ts";
import { hasTooManyValues, MAX_JSON_VALUES } from "@toolyard/service-kit/http/request-body.ts";
import { isTooNested, MAX_NESTING } from "@toolyard/service-kit/json.ts";
import { parseJson } from "./protocol/json-parse.ts";
import { code, isId, kindOf, type Message, oneLine } from "./protocol/json-rpc.ts";
import { itemsOf } from "./protocol/json-splice.ts";
import type { LineLog } from "./child/line-log.ts";
import { Unavailable } from "./child/pool.ts";
import { INTERFACE_PATH, type InterfaceReading } from "./interface.ts";
import { PROBE_HEADER, probeLimitMs } from "./probe-header.ts";
import { LIVENESS_PATH, READINESS_PATH } from "./probe-paths.ts";
import type { Probe } from "./probe.ts";
import { isNonce, proofOf, PROOF_PATH } from "./proof.ts";
import type { Sessions } from "./sessions/sessions.ts";
import type { Stateless } from "./stateless/stateless.ts";
import type { CallSpans } from "./tracing/call-spans.ts";
import { SPANS_PATH } from "./tracing/trace-header.ts";

/** Largest request body, in bytes. */
const MAX_BODY_BYTES = 10 * 1024 * 1024;
const MAX_CHARACTER_BYTES = 4;
const NO_BYTES = Buffer.alloc(0);
const JSON_TYPE = /^\s*application\/json\s*(;|$)/i;

export interface ServerOptions {
  host: string;
  /** Required as `Authorization: Bearer …`; null: none. */
  token: string | null;
  /** Host names, besides the loopback ones and `host`, that requests may name in Host and Origin. */
  allowedHosts: readonly string[];
  sessions: Sessions;
  stateless: Stateless;
  probe: Probe;
  spans: CallSpans;
  log: LineLog;
  health: () => { ok: boolean; body: Record<string, unknown> };
  status: () => Record<string, unknown>;
  /** @throws Unavailable */
  readInterface: () => Promise<InterfaceReading>;
  /** The bridge is shutting down: nothing new is taken. */
  closing: () => boolean;
}

/** Requests that change a child's behaviour for everybody; without sessions, all callers share children. */
const NEEDS_SESSION: readonly string[] = ["logging/setLevel", "resources/subscribe", "resources/unsubscribe"];
/** The caller, set by the proxy: any holder of the bridge's token may set it. */
const CALLER_HEADER = "x-toolyard-user";
/** On every call that the proxy passes on, and on none of Toolyard's own requests. */
const PASSED_ON_HEADER = "x-forwarded-for";
/** Longer than proxies keep idle connections, so that they and not the bridge end them. */
const KEEP_ALIVE_TIMEOUT_MS = 75_000;

function header(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

function isRequest(message: Message): boolean {
  return kindOf(message) === "request";
}

function isInitialize(message: Message): boolean {
  return message.method === "initialize";
}

/** A promise where something is waited for. */
type Work = Promise<void> | void;

/** The bridge's HTTP side: decides who may ask, and routes requests by method and era. */
export function createBridgeServer(options: ServerOptions): Server {
  const { host, token, allowedHosts, sessions, stateless, probe, spans, log, health, status, readInterface, closing } =
    options;
  const policy = createHostPolicy({ listenHost: host, origins: [], hosts: allowedHosts });
  const bearer = token === null ? null : Buffer.from(`Bearer ${token}`);
  /** Holds what a request gives for it; with room for one more character, which shows that it is longer. */
  const given = Buffer.alloc((bearer?.length ?? 0) + MAX_CHARACTER_BYTES);
  /** Origins of this host and of the named ones, whatever their port. */
  function originAllowed(origin: string): boolean {
    if (origin === "" || policy.allowsOrigin(origin)) return true;
    return URL.canParse(origin) && allowedHosts.includes(new URL(origin).hostname);
  }

  function authorized(request: IncomingMessage): boolean {
    if (bearer === null) return true;
    const length = given.write(request.headers.authorization ?? "");
    return length === bearer.length && timingSafeEqual(given.subarray(0, length), bearer);
  }

  function hostAllowed(host: string | undefined): boolean {
    return host !== undefined && policy.allowsHost(host);
  }

  function json(response: ServerResponse, httpStatus: number, body: Record<string, unknown>): void {
    response
      .writeHead(httpStatus, { "content-type": "application/json", "cache-control": "no-store" })
      .end(JSON.stringify(body));
  }

  function versionProblem(request: IncomingMessage): string | null {
    const version = header(request, "mcp-protocol-version");
    if (version === undefined || SESSION_VERSIONS.includes(version)) return null;
    return `Bad Request: Unsupported protocol version: ${version} (supported versions: ${SESSION_VERSIONS.join(", ")})`;
  }

  /** Errors carry the request's id, since clients look for it. */
  async function about<T>(message: Message, response: ServerResponse, work: () => Promise<T>): Promise<T | null> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
      const headers = { "retry-after": String(error.retryAfterSeconds) };
      refuse(response, 503, { id: message.id ?? null, message: error.message, headers });
      return null;
    }
  }

  async function serveProbe(message: Message, limitMs: number, response: ServerResponse): Promise<void> {
    const answer = await about(message, response, () => probe.run(limitMs));
    if (answer === null) return;
    const { id = null } = message;
    if (answer.state === "refused") json(response, 200, { jsonrpc: "2.0", id, error: answer.error });
    else json(response, 200, { jsonrpc: "2.0", id, result: answer });
  }

  /** A tick after its head all of a small body is here: it is read without listeners and promises, which cost CPU. */
  function post(request: IncomingMessage, response: ServerResponse): void {
    if (!JSON_TYPE.test(request.headers["content-type"] ?? ""))
      return refuse(response, 415, { message: "Unsupported Media Type: Content-Type must be application/json" });
    process.nextTick(attempt, read, request, response);
  }

  function read(request: IncomingMessage, response: ServerResponse): Work {
    if (request.headers["content-length"] === String(request.readableLength))
      return take(request, response, (request.read() as Buffer | null) ?? NO_BYTES);
    return readBytes(request, MAX_BODY_BYTES).then(
      (bytes) => take(request, response, bytes),
      (error: unknown) => refuseBody(request, response, error),
    );
  }

  function refuseBody(request: IncomingMessage, response: ServerResponse, error: unknown): void {
    if (!(error instanceof ToolyardError)) throw error;
    request.resume();
    if (error.code !== "PAYLOAD_TOO_LARGE")
      return refuse(response, 400, { code: code.parseError, message: `Parse error: ${error.message}` });
    return refuse(response, 413, {
      message: `Payload Too Large: Request body must not exceed ${MAX_BODY_BYTES} bytes`,
      headers: { connection: "close" },
    });
  }

  function take(request: IncomingMessage, response: ServerResponse, bytes: Buffer): Work {
    let text: string;
    try {
      text = textOf(bytes);
    } catch (error) {
      return refuseBody(request, response, error);
    }
    if (hasTooManyValues(text)) {
      const message = `Payload Too Large: the request body has more than ${MAX_JSON_VALUES} JSON values`;
      return refuse(response, 413, { code: code.invalidRequest, message });
    }
    if (isTooNested(text)) {
      const message = `Invalid Request: the request body has more than ${MAX_NESTING} levels`;
      return refuse(response, 400, { code: code.invalidRequest, message });
    }
    let body: unknown;
    try {
      body = parseJson(text);
    } catch (error) {
      return refuse(response, 400, {
        code: code.parseError,
        message: `Parse error: the request body is not JSON: ${jsonProblem(text, error)}`,
      });
    }
    const headers: RequestHeaders = {
      protocolVersion: header(request, "mcp-protocol-version"),
      method: header(request, "mcp-method"),
      name: header(request, "mcp-name"),
    };
    if (Array.isArray(body)) {
      const texts = itemsOf(text);
      for (const [index, item] of body.entries()) keepDigits(response, item, texts[index] ?? "");
    } else keepDigits(response, body, text);
    const classified = classify(body, headers);
    if (classified.era === "refused") return refuse(response, classified.status, classified);
    // Messages about running calls (an answer to the server, a cancellation) are accepted until the end.
    const asks = classified.era === "stateless" || classified.messages.some(isRequest);
    if (closing() && asks)
      return refuse(response, 503, { message: "the bridge is shutting down", headers: { "retry-after": "1" } });
    const line = oneLine(text);
    return classified.era === "stateless"
      ? takeStateless(classified.message, headers, line, request, response)
      : takeOfSession(classified.messages, classified.batch, line, request, response);
  }

  function takeStateless(
    message: Message,
    headers: RequestHeaders,
    line: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const given = (name: string): string | undefined => header(request, name.toLowerCase());
    const text = isId(message.id) ? spans.continue(message, line, request.headers) : line;
    const caller = header(request, CALLER_HEADER) ?? "";
    return stateless.serve(message, { headers, header: given, caller, text }, response);
  }

  /** @param text The body on one line */
  function takeOfSession(
    messages: Message[],
    batch: boolean,
    text: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): Work {
    const accept = request.headers.accept;
    const streamable = accept === undefined || accept.includes("text/event-stream") || accept.includes("*/*");
    const only = messages.length === 1 ? messages[0] : undefined;
    const sessionId = header(request, "mcp-session-id");
    if (sessionId === undefined && only !== undefined && isInitialize(only) && isRequest(only))
      return open(only, text, request, response, streamable);
    const id = only?.id ?? null;
    const problem = versionProblem(request);
    if (problem !== null) return refuse(response, 400, { id, message: problem });
    const traced = only === undefined || batch || !isRequest(only) ? text : spans.continue(only, text, request.headers);
    if (sessionId === undefined) return takeBare(only, traced, request, response, streamable);
    const session = sessions.get(sessionId);
    if (session === undefined)
      return refuse(response, 404, { id, code: code.sessionNotFound, message: "Session not found" });
    if (messages.some(isInitialize)) {
      return refuse(response, 400, {
        id,
        code: code.invalidRequest,
        message: "Invalid Request: Server already initialized",
      });
    }
    session.post(messages, { batch, text: traced, response, streamable });
  }

  async function open(
    message: Message,
    text: string,
    request: IncomingMessage,
    response: ServerResponse,
    streamable: boolean,
  ): Promise<void> {
    const caller = header(request, CALLER_HEADER) ?? "";
    const session = await about(message, response, () => sessions.open(message, caller));
    session?.post([message], { batch: false, text, response, streamable });
  }

  async function takeBare(
    message: Message | undefined,
    text: string,
    request: IncomingMessage,
    response: ServerResponse,
    streamable: boolean,
  ): Promise<void> {
    const probed = header(request, PROBE_HEADER);
    if (message !== undefined && isRequest(message)) {
      if (message.method === "tools/list" && probed !== undefined)
        return serveProbe(message, probeLimitMs(probed), response);
      const caller = header(request, CALLER_HEADER) ?? "";
      if (!NEEDS_SESSION.includes(message.method ?? ""))
        return void (await about(message, response, () =>
          stateless.serveBare(message, text, caller, response, streamable),
        ));
    }
    if (message !== undefined && kindOf(message) === "notification") return void response.writeHead(202).end();
    const id = message?.id ?? null;
    return refuse(response, 400, { id, message: "Bad Request: Mcp-Session-Id header is required" });
  }

  function withSession(
    request: IncomingMessage,
    response: ServerResponse,
    act: (session: NonNullable<ReturnType<Sessions["get"]>>) => void,
  ): void {
    const sessionId = header(request, "mcp-session-id");
    if (sessionId === undefined) {
      return refuse(response, request.method === "GET" ? 405 : 400, {
        message: "Bad Request: Mcp-Session-Id header is required",
        headers: { allow: "POST" },
      });
    }
    const problem = versionProblem(request);
    if (problem !== null) return refuse(response, 400, { message: problem });
    const session = sessions.get(sessionId);
    if (session === undefined)
      return refuse(response, 404, { code: code.sessionNotFound, message: "Session not found" });
    act(session);
  }

  function prove(known: string, url: string, response: ServerResponse): void {
    const nonce = new URLSearchParams(url.slice(PROOF_PATH.length)).get("nonce") ?? "";
    if (!isNonce(nonce))
      return refuse(response, 400, { message: "Bad Request: the nonce must be 32 bytes of base64url" });
    const proof = proofOf(known, nonce);
    response.writeHead(200, { "content-type": "text/plain", "content-length": proof.length }).end(proof);
  }

  function serve(request: IncomingMessage, response: ServerResponse): Work {
    const url = request.url ?? "";
    const end = url.indexOf("?");
    const path = end === -1 ? url : url.slice(0, end);
    if (request.method === "GET" || request.method === "HEAD") {
      if (path === LIVENESS_PATH) return void response.writeHead(200).end();
      if (path === READINESS_PATH) {
        const { ok, body } = health();
        return json(response, ok ? 200 : 503, body);
      }
    }
    if (path === PROOF_PATH && token !== null && request.method === "GET") return prove(token, url, response);
    if (!hostAllowed(request.headers.host))
      return refuse(response, 403, { message: `Invalid Host: ${request.headers.host ?? "(missing)"}` });
    const origin = header(request, "origin");
    if (origin !== undefined && !originAllowed(origin))
      return refuse(response, 403, { message: `Invalid Origin: ${origin}` });
    if (!authorized(request)) {
      return refuse(response, 401, {
        message: "the bridge's bearer token is missing or wrong",
        headers: { "www-authenticate": "Bearer" },
      });
    }
    // All else is for Toolyard itself: by the proxy, callers name any path.
    if (path !== "/mcp" && header(request, PASSED_ON_HEADER) !== undefined)
      return refuse(response, 404, { message: "Not Found: the MCP endpoint is /mcp" });
    if (path === "/status" && request.method === "GET") return json(response, 200, status());
    if (path === INTERFACE_PATH && request.method === "GET")
      return readInterface().then((reading) => json(response, 200, { ...reading }));
    if (path === SPANS_PATH && request.method === "POST") return json(response, 200, { spans: spans.drain() });
    if (path !== "/mcp") return refuse(response, 404, { message: "Not Found: the MCP endpoint is /mcp" });
    switch (request.method) {
      case "POST":
        return post(request, response);
      case "GET":
        if (!(request.headers.accept ?? "").includes("text/event-stream")) {
          return refuse(response, 406, { message: "Not Acceptable: Client must accept text/event-stream" });
        }
        return withSession(request, response, (session) => session.stream(response, header(request, "last-event-id")));
      case "DELETE":
        return withSession(request, response, (session) => {
          sessions.remove(session);
          response.writeHead(200).end();
        });
      default:
        return refuse(response, 405, { message: "Method not allowed.", headers: { allow: "GET, POST, DELETE" } });
    }
  }

  function fail(request: IncomingMessage, response: ServerResponse, error: unknown): void {
    if (error instanceof Unavailable) {
      return refuse(response, 503, {
        message: error.message,
        headers: { "retry-after": String(error.retryAfterSeconds) },
      });
    }
    if (request.errored !== null || response.destroyed) return;
    log.write("SYSTEM", `a request failed: ${stackOf(error)}`);
    if (response.headersSent) response.destroy();
    else refuse(response, 500, { code: code.internalError, message: "Internal error of the bridge" });
  }

  /** Takes a step of a request; one that fails is answered. */
  function attempt(
    step: (request: IncomingMessage, response: ServerResponse) => Work,
    request: IncomingMessage,
    response: ServerResponse,
  ): void {
    try {
      const work = step(request, response);
      if (work !== undefined) work.catch((error: unknown) => fail(request, response, error));
    } catch (error) {
      fail(request, response, error);
    }
  }

  // Not an import: that reads all of node:http's exports, and one of them loads Node's WebSocket client, 14 MB of memory.
  const server = process
    .getBuiltinModule("node:http")
    .createServer((request, response) => attempt(serve, request, response));
  server.keepAliveTimeout = KEEP_ALIVE_TIMEOUT_MS;
  return server;
}
