import { parseJson } from "@toolyard/service-kit/json.ts";
import { type Id, isId } from "./json-rpc.ts";
import type { Overflow } from "./lines.ts";

/** Identifies a JSON-RPC message that is too long to be kept: only the keys of its outermost object are read. */
export interface LongMessage extends Overflow {
  /** Its `id`, if it has a valid one. */
  readonly id: Id | null;
  /** Whether it is a request or a notification, not an answer. */
  readonly hasMethod: boolean;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const COMMA = 0x2c;
const OPENING: readonly number[] = [0x7b, 0x5b];
const CLOSING: readonly number[] = [0x7d, 0x5d];
/** The longest id that is answered. */
const MAX_SCALAR_BYTES = 1_024;

export function createLongMessage(): LongMessage {
  let depth = 0;
  let isInString = false;
  let isEscaped = false;
  let isValue = false;
  let key = "";
  /** The name or plain value of the outermost object that is being read. */
  let text = "";
  let isTextTooLong = false;
  let id: Id | null = null;
  let hasMethod = false;

  function keep(bytes: Buffer, from: number, to: number): void {
    if (depth !== 1 || (isValue && key !== "id")) return;
    if (text.length + to - from > MAX_SCALAR_BYTES) isTextTooLong = true;
    // Ids with other characters were not given by the bridge; those of clients are compared as they were sent.
    else text += bytes.toString("latin1", from, to);
  }

  function take(): void {
    const read = parseJson(isTextTooLong ? "" : Buffer.from(text.trim(), "latin1").toString("utf8"));
    text = "";
    isTextTooLong = false;
    if (isValue) {
      if (key === "id" && isId(read)) id = read;
    } else {
      key = typeof read === "string" ? read : "";
      if (key === "method") hasMethod = true;
    }
  }

  return {
    get id() {
      return id;
    },
    get hasMethod() {
      return hasMethod;
    },
    see(bytes) {
      let from = 0;
      for (let at = 0; at < bytes.length; at += 1) {
        const byte = bytes[at] as number; // within the bounds
        if (isInString) {
          if (isEscaped) isEscaped = false;
          else if (byte === BACKSLASH) isEscaped = true;
          else if (byte === QUOTE) isInString = false;
        } else if (byte === QUOTE) isInString = true;
        else if (OPENING.includes(byte)) {
          depth += 1;
          if (depth === 1) from = at + 1;
        } else if (CLOSING.includes(byte)) {
          if (depth === 1) {
            keep(bytes, from, at);
            take();
          }
          depth -= 1;
          if (depth === 1) {
            text = "";
            from = at + 1;
          }
        } else if (depth === 1 && (byte === COLON || byte === COMMA)) {
          keep(bytes, from, at);
          take();
          from = at + 1;
          isValue = byte === COLON;
        }
      }
      keep(bytes, from, bytes.length);
    },
  };
}
