/** JSON-RPC 2.0 messages in transit: inspected only as far as routing needs, never rebuilt when raw text can go on. */
import { isObject } from "@toolyard/service-kit/json.ts";

export type Id = string | number;

/** Requests of a server that may be open at once in one session, or in one call of a client without. */
export const MAX_ASKED = 256;

export interface RpcError {
  code: number;
  message: string;
  data?: unknown;
}

export type Params = Record<string, unknown>;

/** One message whose shape `readMessage` has checked. The presence of the optional fields tells its kind. */
export interface Message {
  jsonrpc: "2.0";
  id?: Id | null;
  method?: string;
  params?: Params;
  result?: unknown;
  error?: RpcError;
}

export type MessageKind = "request" | "notification" | "response";

/** Codes of JSON-RPC 2.0 and of MCP (schema 2026-07-28; `CONNECTION_CLOSED` and `REQUEST_TIMEOUT` are what the SDKs use). */
export const code = {
  parseError: -32700,
  invalidRequest: -32600,
  methodNotFound: -32601,
  invalidParams: -32602,
  internalError: -32603,
  serverError: -32000,
  sessionNotFound: -32001,
  requestTimeout: -32001,
  headerMismatch: -32020,
  missingClientCapability: -32021,
  unsupportedProtocolVersion: -32022,
} as const;

export function isId(value: unknown): value is Id {
  return typeof value === "string" || (typeof value === "number" && Number.isInteger(value));
}

/** A parsed JSON value as a message, or null when it is not one. */
export function readMessage(value: unknown): Message | null {
  if (!isObject(value) || value.jsonrpc !== "2.0") return null;
  if (typeof value.method === "string") {
    if (value.id !== undefined && !isId(value.id)) return null;
    if (value.params !== undefined && !isObject(value.params)) return null;
  } else {
    if (value.method !== undefined) return null;
    if ("error" in value) {
      if (value.id !== undefined && value.id !== null && !isId(value.id)) return null;
      const error = value.error;
      if (!isObject(error) || typeof error.code !== "number" || typeof error.message !== "string") return null;
    } else if (!("result" in value) || !isId(value.id)) return null;
  }
  // Every field that `Message` names was checked above; further fields pass through unread.
  return value as unknown as Message;
}

export function kindOf(message: Message): MessageKind {
  if (message.method === undefined) return "response";
  return message.id === undefined ? "notification" : "request";
}

export function metaOf(params: Params | undefined): Record<string, unknown> | undefined {
  const meta = params?._meta;
  return isObject(meta) ? meta : undefined;
}

export function errorText(id: Id | null, errorCode: number, message: string, data?: unknown): string {
  return JSON.stringify({
    jsonrpc: "2.0",
    id,
    error: { code: errorCode, message, ...(data === undefined ? {} : { data }) },
  });
}

/** JSON text on one line. A raw line break in valid JSON can only be white space between tokens. */
export function oneLine(text: string): string {
  return /[\r\n]/.test(text) ? text.replace(/[\r\n]+/g, " ") : text;
}
