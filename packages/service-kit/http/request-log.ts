import { pino } from "pino";
import type { LogLevel } from "../process/log.ts";

/** A line for each request, at info: quick to write, and written in batches. */
export interface RequestLog {
  /** Whether requests are logged: callers ask before they build a line. */
  readonly isOn: boolean;
  /** The only client text in fields is bounded and `printable`. */
  write(fields: Record<string, string | number | null | undefined>, message: string): void;
  /** Writes the waiting lines; at the latest when the process stops. */
  flush(): void;
}

/** Less than a pipe takes from one process without interleaving another's lines (POSIX's PIPE_BUF). */
const TOGETHER_BYTES = 4_000;
const WAIT_MS = 50;
/** As for the log: the limit on bytes that wait for an output that accepts nothing. */
const MAX_WAITING = 1024 * 1024;

export const noRequestLog: RequestLog = { isOn: false, write: () => undefined, flush: () => undefined };

export function createRequestLog(options: {
  /** LOG_REQUESTS. */
  enabled: boolean;
  level: LogLevel;
  name: string;
  /** A file's descriptor; standard output unless given. */
  fd?: number;
}): RequestLog {
  const { enabled, level, name, fd = 1 } = options;
  if (!enabled || !["trace", "debug", "info"].includes(level)) return noRequestLog;
  const destination = pino.destination({ fd, sync: true, minLength: TOGETHER_BYTES, maxLength: MAX_WAITING });
  destination.on("error", () => undefined);
  // Nothing is redacted, since nothing secret is given: searching for secrets would take longer than all the rest.
  const lines = pino(
    {
      level: "info",
      base: { logger: name },
      messageKey: "message",
      timestamp: () => `,"timestamp":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination,
  );
  let timer: NodeJS.Timeout | null = null;

  function flush(): void {
    if (timer) clearTimeout(timer);
    timer = null;
    // Not `flushSync`, which tries for ever where nobody reads the log any more, or its disk is full. What one flush leaves fits into the next.
    for (let n = 0; n < 2; n++) destination.flush();
  }

  return {
    isOn: true,
    write(fields, message) {
      lines.info(fields, message);
      timer ??= setTimeout(flush, WAIT_MS).unref();
    },
    flush,
  };
}

/** A client's text made fit for a log: one line, without terminal control sequences, and no longer than `max`. */
export function printable(text: string, max: number): string {
  const short = text.length > max ? `${text.slice(0, max)}…` : text;
  return /^[\x20-\x7e]*$/.test(short) ? short : short.replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, "?");
}

/** The requested path without its query, which may hold credentials. */
export function pathToLog(url = ""): string {
  const queryAt = url.indexOf("?");
  return printable(queryAt < 0 ? url : url.slice(0, queryAt), 200);
}

/** nginx's word for a client that went away before its answer. */
const CLIENT_CLOSED_REQUEST = 499;

export function statusToLog({ headersSent, statusCode }: { headersSent: boolean; statusCode: number }): number {
  return headersSent ? statusCode : CLIENT_CLOSED_REQUEST;
}
