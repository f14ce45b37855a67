import { isObject, parseJson } from "@toolyard/service-kit/json.ts";
import { PEEK_BYTES } from "./json-rpc-peek.ts";
import type { RequestBody } from "../calls/request-body.ts";

/** The program that calls, as it says itself. */
export interface ClientInfo {
  name: string;
  version: string;
}

const IN_META = Buffer.from('"io.modelcontextprotocol/clientInfo"');
const IN_INITIALIZE = Buffer.from('"clientInfo"');
/** SDKs write `_meta` after the arguments. */
const END_BYTES = 4 * 1_024;
/** Of the object, which may have icons and a description besides. */
const MAX_INFO_BYTES = 2 * 1_024;
const MAX_NAME = 96;
const MAX_VERSION = 48;
/** What texts of a label do not have: controls, and what JSON would escape. */
const UNPRINTABLE = /[\p{C}"\\]/gu;

/**
 * Of an `initialize`, or of a request of revision 2026-07-28, from its body without parsing all of it: looks at the beginning and the end. A caller
 * who writes such text elsewhere in a body deceives nobody about others. Null where it is not said.
 */
export function readClient(body: RequestBody, isInitialize: boolean): ClientInfo | null {
  const { content } = body;
  const key = isInitialize ? IN_INITIALIZE : IN_META;
  if (!Buffer.isBuffer(content)) return clientIn(Buffer.from(body.beginning()), key);
  if (content.length <= PEEK_BYTES) return clientIn(content, key);
  return clientIn(content.subarray(content.length - END_BYTES), key) ?? clientIn(content.subarray(0, PEEK_BYTES), key);
}

/** The client that was read last, with its bytes from the key on: mostly it calls again. */
let last: { bytes: Buffer; client: ClientInfo } | null = null;

/** The last one: an envelope mostly follows the arguments. */
function clientIn(bytes: Buffer, key: Buffer): ClientInfo | null {
  const at = bytes.lastIndexOf(key);
  if (at === -1) return null;
  const from = at + key.length;
  const again = last === null ? Infinity : from + last.bytes.length;
  if (last !== null && again <= bytes.length && bytes.compare(last.bytes, 0, undefined, from, again) === 0)
    return last.client;
  const text = objectIn(bytes.toString("utf8", from, from + MAX_INFO_BYTES));
  const info = text === null ? null : parseJson(text.slice(text.indexOf("{")));
  if (text === null || !isObject(info) || typeof info.name !== "string" || info.name === "") return null;
  const { name, version } = info;
  const client = {
    name: label(name, MAX_NAME),
    version: typeof version === "string" ? label(version, MAX_VERSION) : "",
  };
  // Bytes that are no UTF-8 take more as text, so that at least all of the object's are kept.
  last = { bytes: Buffer.from(bytes.subarray(from, from + Buffer.byteLength(text))), client };
  return client;
}

/** The colon and the object at the beginning of a text; null where it does not end in it. */
function objectIn(text: string): string | null {
  const start = /^\s*:\s*\{/.exec(text)?.[0].length;
  if (start === undefined) return null;
  let depth = 1;
  for (let at = start; at < text.length; at += 1) {
    const char = text[at];
    if (char === '"') {
      at += 1;
      while (at < text.length && text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
    } else if (char === "{") depth += 1;
    else if (char === "}") {
      depth -= 1;
      if (depth === 0) return text.slice(0, at + 1);
    }
  }
  return null;
}

function label(text: string, most: number): string {
  return text.slice(0, most).toWellFormed().replace(UNPRINTABLE, "\uFFFD");
}
