import type { ServiceHealth } from "@toolyard/service-kit";
import { clockHealth, createMeasuredClock } from "@toolyard/service-kit/process/measured-clock.ts";
import type { Database } from "./database.ts";
import { dialectOf } from "./dialects.ts";

/** The one clock of all processes that share an installation's databases: a server's, where there is one. Files are of one host, and so is their time. */
export interface SharedClock {
  /** Epoch milliseconds. */
  now(): number;
  /** Goes by this database's server from now on, if it has one. @throws ToolyardError as of `databaseUnavailable` */
  follow(database: Database): Promise<void>;
  /** `clock`, where this host's own differs. */
  health(): ServiceHealth[];
  close(): void;
}

export function createSharedClock(options: { own?: () => number } = {}): SharedClock {
  let followed: Database | null = null;
  const { own = Date.now } = options;
  const clock = createMeasuredClock({ ask: () => (followed ? timeOf(followed) : Promise.resolve(own())), own });
  return {
    now: clock.now,
    async follow(database) {
      if (database.file !== null) return;
      const isFirst = followed === null;
      followed = database;
      if (!isFirst) return;
      await clock.measure();
      clock.start();
    },
    health: () =>
      clockHealth(
        clock.aheadMs(),
        (difference) =>
          `This host's clock is ${difference} that of the server of DATABASE_URL, by which all that is shared goes.`,
      ),
    close: clock.close,
  };
}

/** By the clock of the database's server; of a file, by this host's. */
export function timeOf(database: Database): Promise<number> {
  return dialectOf(database.read).now(database.read);
}
