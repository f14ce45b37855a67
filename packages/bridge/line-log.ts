/** What the bridge writes to its own stdout: JSON lines that the runtime's log reader parses. */
export type LogStream = "STDOUT" | "STDERR" | "SYSTEM";

export interface LineLog {
  /** One line of the child (STDOUT: what was not JSON-RPC) or of the bridge itself (SYSTEM). */
  write(stream: LogStream, text: string): void;
}

/** Longest text of one log line, in characters (16 KiB). */
export const maxLogText = 16 * 1024;

export function createLineLog(write: (line: string) => void, now: () => number = Date.now): LineLog {
  return {
    write(stream, text) {
      const kept =
        text.length > maxLogText ? `${text.slice(0, maxLogText)}… (truncated, ${text.length} characters)` : text;
      write(`${JSON.stringify({ at: now(), stream, text: kept })}\n`);
    },
  };
}
