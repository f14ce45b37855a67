/** The parts of a JSON-RPC message that a usage record needs. */
export interface JsonRpcPeek {
  method: string | null;
  /** `params.name`. */
  name: string | null;
}

/** The part of a body that is looked at. */
export const PEEK_BYTES = 64 * 1024;
const MAX_DEPTH_NOTED = 2;

/**
 * Finds `method` and `params.name` in the beginning of a JSON-RPC message (or of a batch: its first message) without parsing
 * all of it. Skips strings and nesting; stops at the end of its input, so a truncated message yields the members found so far.
 */
export function peekJsonRpc(text: string): JsonRpcPeek {
  const found: JsonRpcPeek = { method: null, name: null };
  let at = skipSpace(text, 0);
  if (text[at] === "[") at = skipSpace(text, at + 1);
  if (text[at] !== "{") return found;
  at += 1;
  /** Whether the object at depth 2 is `params`. */
  let inParams = false;
  let depth = 1;
  /** Depth of arrays and of irrelevant objects. */
  let skipped = 0;
  let key: string | null = null;
  let expectsKey = true;
  while (at < text.length) {
    const char = text[at];
    if (char === '"') {
      const end = endOfString(text, at);
      if (end === -1) return found;
      if (skipped === 0) {
        if (expectsKey) key = readString(text, at, end);
        else {
          if (depth === 1 && key === "method") found.method = readString(text, at, end);
          if (depth === 2 && inParams && key === "name") found.name = readString(text, at, end);
          if (found.method !== null && found.name !== null) return found;
        }
      }
      at = end + 1;
      continue;
    }
    if (char === ":") expectsKey = false;
    else if (char === ",") {
      if (skipped === 0) expectsKey = true;
    } else if (char === "{" || char === "[") {
      if (skipped === 0 && char === "{" && depth < MAX_DEPTH_NOTED && key === "params") {
        depth += 1;
        inParams = true;
        expectsKey = true;
      } else skipped += 1;
    } else if (char === "}" || char === "]") {
      if (skipped > 0) skipped -= 1;
      else {
        depth -= 1;
        inParams = false;
        if (depth === 0) return found;
      }
      key = null;
    }
    at += 1;
  }
  return found;
}

function skipSpace(text: string, from: number): number {
  let at = from;
  while (at < text.length && (text[at] === " " || text[at] === "\n" || text[at] === "\r" || text[at] === "\t")) at += 1;
  return at;
}

/** Index of the quote that ends the string that begins at `start`, or -1. */
function endOfString(text: string, start: number): number {
  let end = text.indexOf('"', start + 1);
  while (end !== -1) {
    let backslashes = 0;
    while (text[end - 1 - backslashes] === "\\") backslashes += 1;
    if (backslashes % 2 === 0) return end;
    end = text.indexOf('"', end + 1);
  }
  return -1;
}

function readString(text: string, start: number, end: number): string | null {
  const raw = text.slice(start + 1, end);
  if (!raw.includes("\\")) return raw;
  try {
    const value: unknown = JSON.parse(text.slice(start, end + 1));
    return typeof value === "string" ? value : null;
  } catch {
    return null; // an invalid escape: the server will refuse the message
  }
}
