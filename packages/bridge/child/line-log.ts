import { createHmac } from "node:crypto";

/** The bridge's own stdout: JSON lines that the runtime's log reader parses. */
type LogStream = "STDOUT" | "STDERR" | "SYSTEM";

export interface LineLog {
  /** One line of the child (STDOUT: what was not JSON-RPC) or of the bridge itself (SYSTEM). */
  write(stream: LogStream, text: string): void;
}

/** Longest text of one log line, in characters (16 KiB). */
export const MAX_LOG_TEXT = 16 * 1024;

export interface LogLine {
  /** Epoch ms. */
  at: number;
  stream: LogStream;
  text: string;
}

/**
 * The mark by which the runtime recognizes lines of the bridge, or its own: a server writes to the same file when it runs without a bridge,
 * and the system lets it open its bridge's. `key` belongs to one start; the runtime and the bridge know it, the server does not.
 */
export function markOf(key: string, { at, stream, text }: LogLine): string {
  return createHmac("sha256", key)
    .update(JSON.stringify([at, stream, text]))
    .digest("base64url");
}

/** A line as stored in the log. @param key Null: no reader needs to know its writer. */
export function printLine(line: LogLine, key: string | null): string {
  return `${JSON.stringify(key === null ? line : { ...line, mark: markOf(key, line) })}\n`;
}

/** @param hide Applied to each text first: hides secrets before the text is cut. */
export function createLineLog(
  write: (line: string) => void,
  now: () => number = Date.now,
  hide: (text: string) => string = (text) => text,
  key: string | null = null,
): LineLog {
  return {
    write(stream, given) {
      const text = hide(given);
      const kept =
        text.length > MAX_LOG_TEXT ? `${text.slice(0, MAX_LOG_TEXT)}… (truncated, ${text.length} characters)` : text;
      write(printLine({ at: now(), stream, text: kept }, key));
    },
  };
}
