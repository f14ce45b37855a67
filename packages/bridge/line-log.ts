/** What the bridge writes to its own stdout: JSON lines that the runtime's log reader parses. */
export type LogStream = "STDOUT" | "STDERR" | "SYSTEM";

export interface LineLog {
  /** One line of the child (STDOUT: what was not JSON-RPC) or of the bridge itself (SYSTEM). */
  write(stream: LogStream, text: string): void;
}

/** Longest text of one log line, in characters (16 KiB). */
export const maxLogText = 16 * 1024;

/** @param hide What is done to each text first: hides secrets, before anything is cut off. */
export function createLineLog(
  write: (line: string) => void,
  now: () => number = Date.now,
  hide: (text: string) => string = (text) => text,
): LineLog {
  return {
    write(stream, given) {
      const text = hide(given);
      const kept =
        text.length > maxLogText ? `${text.slice(0, maxLogText)}… (truncated, ${text.length} characters)` : text;
      write(`${JSON.stringify({ at: now(), stream, text: kept })}\n`);
    },
  };
}
