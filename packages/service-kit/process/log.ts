import { pino } from "pino";

export type Logger = pino.Logger;
export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Names of fields whose values never reach the log, at any depth that our code logs. */
const SECRET_FIELDS = [
  "password",
  "new",
  "current",
  "secret",
  "token",
  "accessToken",
  "refreshToken",
  "authorization",
  "cookie",
  "credential",
  "ticket",
  "approvalToken",
  "apiKey",
];
const REDACTED_PATHS = [
  ...SECRET_FIELDS.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]),
  // A failed statement's values: password hashes, sealed secrets.
  "err.parameters",
  "err.cause.parameters",
];

/** Bytes that may wait for an output that accepts nothing; beyond that, lines are dropped. */
const MAX_WAITING = 1024 * 1024;

/** The log's reader may go away, and its disk may be full: neither may end the process. */
function standardOutput(): pino.DestinationStream {
  const destination = pino.destination({ fd: 1, sync: true, maxLength: MAX_WAITING });
  destination.on("error", () => undefined);
  return destination;
}

/**
 * One JSON object a line: timestamp, level, logger, message, and what the caller adds (request_id, user_id, …).
 * Secrets are redacted by field name; do not put one into a message.
 */
export function createLogger(options: { level: LogLevel; name: string; destination?: pino.DestinationStream }): Logger {
  const { level, name, destination = standardOutput() } = options;
  return pino(
    {
      level,
      base: null,
      messageKey: "message",
      timestamp: () => `,"timestamp":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: REDACTED_PATHS, censor: "[redacted]" },
      mixin: () => ({}),
    },
    destination,
  ).child({ logger: name });
}
