import { messageOf, type Logger } from "@toolyard/service-kit";
import { databaseFailureOf } from "./failures.ts";

/** Logs work on a database that is tried again and again: once when it begins to fail, and once when it works again. */
export function createOutageLog(options: {
  /** What fails, as in `reading the event log`. */
  what: string;
  fields?: object;
  logger: Pick<Logger, "warn" | "info">;
}): { failed(error: unknown): void; works(): void } {
  const { what, fields, logger } = options;
  let isReported = false;
  return {
    failed(error) {
      if (isReported) return;
      isReported = true;
      // Where the server is away, a stack says nothing of why.
      const isAway = databaseFailureOf(error) === "lost-connection";
      logger.warn(
        { ...fields, ...(isAway ? { reason: messageOf(error) } : { err: error }) },
        `${what} failed; it is tried again until it works`,
      );
    },
    works() {
      if (isReported) logger.info({ ...fields }, `${what} works again`);
      isReported = false;
    },
  };
}
