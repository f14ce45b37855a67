import { isObject } from "@toolyard/service-kit/json.ts";
import { code, type Id, isId, kindOf, type Message, metaOf, readMessage } from "./json-rpc.ts";
import { decodeHeader } from "./param-headers.ts";

/**
 * Which protocol era a request speaks, and whether it is valid in it. The rules are those of `classifyInboundRequest` and
 * of the standard-header checks in @modelcontextprotocol/server; `era.test.ts` holds this file to them. They are repeated
 * here because importing the SDK costs every bridge 35 MB and 130 ms of start, and every request several zod parses.
 */

export const STATELESS_VERSION = "2026-07-28";
/** Versions of the session era that a client may name in `MCP-Protocol-Version`, newest first. */
export const SESSION_VERSIONS: readonly string[] = [
  "2025-11-25",
  "2025-06-18",
  "2025-03-26",
  "2024-11-05",
  "2024-10-07",
];

export const metaKey = {
  protocolVersion: "io.modelcontextprotocol/protocolVersion",
  clientInfo: "io.modelcontextprotocol/clientInfo",
  clientCapabilities: "io.modelcontextprotocol/clientCapabilities",
  logLevel: "io.modelcontextprotocol/logLevel",
  serverInfo: "io.modelcontextprotocol/serverInfo",
  subscriptionId: "io.modelcontextprotocol/subscriptionId",
} as const;

/** Least to most severe. */
export const LOG_LEVELS: readonly string[] = [
  "debug",
  "info",
  "notice",
  "warning",
  "error",
  "critical",
  "alert",
  "emergency",
];

export interface RequestHeaders {
  protocolVersion: string | undefined;
  method: string | undefined;
  name: string | undefined;
}

/** A refusal in HTTP and JSON-RPC. */
export interface Refusal {
  era: "refused";
  status: number;
  code: number;
  message: string;
  data?: unknown;
  id: Id | null;
}

export type Classified =
  | { era: "session"; messages: Message[]; batch: boolean }
  /** `messages` holds exactly one, a request or a notification. */
  | { era: "stateless"; message: Message }
  | Refusal;

/** Messages in a batch, of clients and of servers. */
export const MAX_BATCH = 100;

function trim(value: string | undefined): string | undefined {
  return value?.replace(/^[ \t]+|[ \t]+$/g, "");
}

function isModern(version: string): boolean {
  return version >= STATELESS_VERSION;
}

function refusal(id: Id | null, errorCode: number, message: string, data?: unknown): Refusal {
  return { era: "refused", status: 400, code: errorCode, message, data, id };
}

export function mismatch(id: Id | null, header: string, body: string): Refusal {
  return refusal(id, code.headerMismatch, `Bad Request: the request headers and body disagree: ${body}`, {
    mismatch: { header, body },
  });
}

/** The first thing wrong with a request's envelope, or null. */
function envelopeProblem(meta: Record<string, unknown>): { key: string; problem: string } | null {
  for (const key of [metaKey.protocolVersion, metaKey.clientCapabilities]) {
    if (!(key in meta)) return { key, problem: "missing" };
  }
  const progressToken = meta.progressToken;
  if (progressToken !== undefined && !isId(progressToken))
    return { key: "progressToken", problem: "expected a string or an integer" };
  if (typeof meta[metaKey.protocolVersion] !== "string")
    return { key: metaKey.protocolVersion, problem: "expected a string" };
  const info = meta[metaKey.clientInfo];
  if (info !== undefined && (!isObject(info) || typeof info.name !== "string" || typeof info.version !== "string")) {
    return { key: metaKey.clientInfo, problem: "expected an object with name and version" };
  }
  const capabilities = meta[metaKey.clientCapabilities];
  if (!isObject(capabilities)) return { key: metaKey.clientCapabilities, problem: "expected an object" };
  for (const name of ["elicitation", "sampling", "roots", "experimental", "extensions"]) {
    const value = capabilities[name];
    if (value !== undefined && !isObject(value))
      return { key: `${metaKey.clientCapabilities}.${name}`, problem: "expected an object" };
  }
  const level = meta[metaKey.logLevel];
  if (level !== undefined && (typeof level !== "string" || !LOG_LEVELS.includes(level)))
    return { key: metaKey.logLevel, problem: "expected a logging level" };
  return null;
}

/** Stricter about clients than `readMessage` is about servers: a client's messages go on to somebody else's server. */
function readRequestBody(value: unknown): Message | null {
  const message = readMessage(value);
  // An answer to nothing: the SDK takes an error without an id from a server only.
  if (message !== null && message.method === undefined && "id" in message && !isId(message.id)) return null;
  if (message?.method === undefined || message.params === undefined) return message;
  const { _meta: meta } = message.params;
  if (meta === undefined) return message;
  if (!isObject(meta)) return null;
  return meta.progressToken === undefined || isId(meta.progressToken) ? message : null;
}

function classifyBatch(items: unknown[]): Classified {
  if (items.length === 0) return refusal(null, code.invalidRequest, "Bad Request: empty JSON-RPC batch");
  if (items.length > MAX_BATCH)
    return refusal(null, code.invalidRequest, `Bad Request: a batch holds at most ${MAX_BATCH} messages`);
  const messages: Message[] = [];
  for (const item of items) {
    const message = readRequestBody(item);
    const meta = isObject(item) && isObject(item.params) ? metaOf(item.params) : undefined;
    if (meta !== undefined && metaKey.protocolVersion in meta) {
      return refusal(
        null,
        code.invalidRequest,
        `Bad Request: JSON-RPC batches may not contain requests for protocol revision ${STATELESS_VERSION} or later`,
      );
    }
    if (message === null)
      return refusal(null, code.invalidRequest, "Bad Request: JSON-RPC batch contains an invalid message");
    messages.push(message);
  }
  return { era: "session", messages, batch: true };
}

function classifyRequest(message: Message, headers: RequestHeaders): Classified {
  const id = message.id ?? null;
  const meta = metaOf(message.params);
  const claims = meta !== undefined && metaKey.protocolVersion in meta;
  const version = headers.protocolVersion;
  const headerModern = version !== undefined && isModern(version);
  const claimed = claims ? meta[metaKey.protocolVersion] : undefined;
  const validModern = claims && typeof claimed === "string" && isModern(claimed) && envelopeProblem(meta) === null;
  if (message.method === "initialize" && !validModern) {
    if (headerModern) {
      return mismatch(
        id,
        version,
        "an initialize request (legacy handshake) was sent with a modern MCP-Protocol-Version header",
      );
    }
    return { era: "session", messages: [message], batch: false };
  }
  if (claims) {
    const problem = envelopeProblem(meta);
    if (problem !== null) {
      return refusal(
        id,
        code.invalidParams,
        `Invalid _meta envelope for protocol revision ${STATELESS_VERSION}: ${problem.key}: ${problem.problem}`,
        { envelope: problem },
      );
    }
    if (version !== undefined && version !== claimed) {
      return mismatch(
        id,
        version,
        `the body envelope names protocol version ${String(claimed)} but the MCP-Protocol-Version header names ${version}`,
      );
    }
    if (headers.method !== undefined && headers.method !== message.method) {
      return mismatch(
        id,
        headers.method,
        `the body names method ${message.method} but the Mcp-Method header names ${headers.method}`,
      );
    }
    return { era: "stateless", message };
  }
  if (headerModern) {
    const missing =
      meta === undefined
        ? ["_meta"]
        : [metaKey.protocolVersion, metaKey.clientCapabilities].filter((key) => !(key in meta));
    return refusal(
      id,
      code.invalidParams,
      `Invalid params: the MCP-Protocol-Version header names protocol revision ${version}, but the request is missing the required per-request envelope key(s): ${missing.join(", ")}`,
      { envelope: { missing } },
    );
  }
  return { era: "session", messages: [message], batch: false };
}

function classifyNotification(message: Message, headers: RequestHeaders): Classified {
  const meta = metaOf(message.params);
  const version = headers.protocolVersion;
  const claims = meta !== undefined && metaKey.protocolVersion in meta;
  if (!claims && (version === undefined || !isModern(version)))
    return { era: "session", messages: [message], batch: false };
  const claimed = claims ? meta[metaKey.protocolVersion] : version;
  if (typeof claimed !== "string") {
    const problem = { key: metaKey.protocolVersion, problem: "expected a protocol version string" };
    return refusal(
      null,
      code.invalidParams,
      `Invalid _meta envelope for protocol revision ${STATELESS_VERSION}: ${problem.key}: ${problem.problem}`,
      { envelope: problem },
    );
  }
  if (version !== undefined && version !== claimed) {
    return mismatch(
      null,
      version,
      `the notification envelope names protocol version ${claimed} but the MCP-Protocol-Version header names ${version}`,
    );
  }
  if (isModern(claimed) && headers.method !== undefined && headers.method !== message.method) {
    return mismatch(
      null,
      headers.method,
      `the notification body names method ${message.method} but the Mcp-Method header names ${headers.method}`,
    );
  }
  return { era: "stateless", message };
}

/** Classifies the parsed body of a POST by its body first, and by its headers as a cross-check. */
export function classify(body: unknown, given: RequestHeaders): Classified {
  const headers = { protocolVersion: trim(given.protocolVersion), method: trim(given.method), name: trim(given.name) };
  if (Array.isArray(body)) return classifyBatch(body);
  const message = readRequestBody(body);
  if (message === null)
    return refusal(null, code.invalidRequest, "Bad Request: the request body is not a valid JSON-RPC message");
  switch (kindOf(message)) {
    case "response":
      return { era: "session", messages: [message], batch: false };
    case "notification":
      return classifyNotification(message, headers);
    case "request":
      return classifyRequest(message, headers);
  }
}

/** Which field of `params` the Mcp-Name header repeats (SEP-2243, SEP-2663). */
const nameSource: Readonly<Record<string, string>> = {
  "tools/call": "name",
  "prompts/get": "name",
  "resources/read": "uri",
  "tasks/get": "taskId",
  "tasks/update": "taskId",
  "tasks/cancel": "taskId",
};

/** The fault of the version or the standard headers of a stateless request, or null. */
export function checkStateless(message: Message, given: RequestHeaders): Refusal | null {
  const id = message.id ?? null;
  const claimed = metaOf(message.params)?.[metaKey.protocolVersion] ?? trim(given.protocolVersion);
  if (claimed !== STATELESS_VERSION) {
    const requested = typeof claimed === "string" ? claimed : "unknown";
    return refusal(id, code.unsupportedProtocolVersion, `Unsupported protocol version: ${requested}`, {
      supported: [STATELESS_VERSION],
      requested,
    });
  }
  if (message.id === undefined) return null;
  const method = message.method ?? "";
  if (given.protocolVersion === undefined) {
    return mismatch(
      id,
      "(missing)",
      `the body envelope names protocol version ${STATELESS_VERSION} but the required MCP-Protocol-Version header is absent`,
    );
  }
  if (given.method === undefined)
    return mismatch(id, "(missing)", `the body names method ${method} but the required Mcp-Method header is absent`);
  const field = Object.hasOwn(nameSource, method) ? nameSource[method] : undefined;
  if (field === undefined) return null;
  const raw = message.params?.[field];
  const value = typeof raw === "string" ? raw : undefined;
  const name = trim(given.name);
  if (name === undefined) {
    return value === undefined
      ? null
      : mismatch(
          id,
          "(missing)",
          `the body carries params.${field}="${value}" but the required Mcp-Name header is absent`,
        );
  }
  const decoded = decodeHeader(name);
  if (decoded === null) return mismatch(id, name, "the Mcp-Name header carries an invalid Base64 sentinel value");
  if (value !== undefined && decoded !== value) {
    return mismatch(id, name, `the body carries params.${field}="${value}" but the Mcp-Name header names "${decoded}"`);
  }
  return null;
}
