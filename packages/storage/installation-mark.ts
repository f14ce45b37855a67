import { ConfigError } from "@toolyard/service-kit/process/config.ts";
import type { StorePlace } from "./open-store.ts";
import { WITHOUT_MONGODB } from "./server-notes.ts";

/** An installation, by a random id. */
export interface InstallationMark {
  id: string;
  /** Whether contents are kept in a MongoDB, which has the same mark. */
  isPaired: boolean;
}

/** A column of a store's table, by the store's name. */
export interface StoreColumn {
  store: string;
  table: string;
  column: string;
}

/** The mark of an installation where its relational stores are, and what their rows say of a MongoDB. */
export interface InstallationMarks extends AsyncDisposable {
  /** The place, for sentences. */
  readonly where: string;
  /** Null where there is none yet. */
  read(): Promise<InstallationMark | null>;
  /** The mark, made when there is none; the same one for all that ask at once. */
  begin(): Promise<InstallationMark>;
  /** Notes that contents are in MongoDB from now on. */
  pair(): Promise<void>;
  /** Values of a column, from one end or the other; none where there is no such column. */
  some(column: StoreColumn, which: "HIGHEST" | "LOWEST", limit: number): Promise<string[]>;
  /** Whether a column has one of some values. */
  hasAny(column: StoreColumn, values: readonly string[]): Promise<boolean>;
}

/** @throws ConfigError where the server cannot be used */
export async function openInstallationMarks({ dataDir, database, logger }: StorePlace): Promise<InstallationMarks> {
  if (database) return (await import("./mysql/installation-mark.ts")).openMysqlMarks({ ...database, logger });
  return (await import("./sqlite/installation-mark.ts")).openFileMarks(dataDir);
}

/** @throws ConfigError where contents are in MongoDB, and the process has none: they would seem to be gone */
export async function requireNoMongodb(marks: InstallationMarks): Promise<void> {
  if ((await marks.read())?.isPaired)
    throw new ConfigError(
      `MONGODB_URL: it is not set, and documents, contents of versions and results of tasks of ${marks.where} are in the MongoDB that it named. Set it as it was. ` +
        WITHOUT_MONGODB,
    );
}
