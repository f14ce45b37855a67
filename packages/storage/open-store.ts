import { existsSync } from "node:fs";
import { join } from "node:path";
import { ConfigError, preconditionFailed } from "@toolyard/service-kit";
import type { DatabaseSettings } from "@toolyard/service-kit/process/process-config.ts";
import type { Logger } from "@toolyard/service-kit";
import type { EntitySchema } from "typeorm";
import type { Database, DatabaseOptions } from "./database.ts";
import { readMigrations } from "./migration.ts";
import { openDatabase } from "./open-database.ts";
import { WITHOUT_MONGODB, isNoted, noteOf, noteServer, type DataServer } from "./server-notes.ts";

/** Where an installation keeps its relational stores: on a server, or each in a file in DATA_DIR. */
export interface StorePlace {
  dataDir: string;
  database?: DatabaseSettings | null;
  /** Is told when a store fails, and when it does not any more. */
  logger?: Logger | undefined;
}

/**
 * Holds all processes that share the place to one SECRET_KEY.
 * @param place.isAlone For a command that has the database to itself (`alone`).
 * @param secretKeys Current first.
 * @throws ConfigError; ToolyardError PRECONDITION_FAILED while a command copies an installation there
 */
export async function requireSameKey(
  { database, logger, isAlone = false }: Pick<StorePlace, "database" | "logger"> & { isAlone?: boolean },
  secretKeys: readonly [string, ...string[]],
): Promise<void> {
  // Files are in DATA_DIR, and so is their key.
  if (database)
    await (await import("./mysql/installation-key.ts")).requireSameKey({ ...database, logger, isAlone }, secretKeys);
}

/** A store's tables, as its `database.ts` describes them. */
export interface StoreTables {
  /** By which its file, and its table of migrations on a server, are called. */
  name: string;
  entities: EntitySchema[];
  migrationsFolder: string;
  /** SQLite alone can keep it: where there is a server, it stays in DATA_DIR. */
  isEmbeddedOnly?: boolean;
}

/** The folder in DATA_DIR to which `npm run migrate:data` puts the files that servers keep from then on. */
export const ASIDE = "before-servers";

/** The file in DATA_DIR by whose content a copy that goes on knows its data. */
export const COPY_ID = "copy-id";

/**
 * Refuses a store in a file whose data a server keeps: a new file would be an empty installation beside it.
 * @throws ConfigError
 */
export function refuseMoved(
  { dataDir, database = null }: Pick<StorePlace, "dataDir" | "database">,
  { name, isEmbeddedOnly = false }: Pick<StoreTables, "name" | "isEmbeddedOnly">,
): void {
  const variable: DataServer = isEmbeddedOnly ? "MONGODB_URL" : "DATABASE_URL";
  const [aside, copyId] = [join(dataDir, ASIDE, `${name}.sqlite`), join(dataDir, COPY_ID)];
  if (existsSync(aside))
    throw new ConfigError(
      `${variable}: it is not set, and the data of ${name} was moved to a server, which it named: ${aside} is what was in DATA_DIR before. Set it as it was. ` +
        // Rows that stay on their server say what is in MongoDB.
        (database
          ? WITHOUT_MONGODB
          : `To go back to files, without what was written since, move the *.sqlite files of ${ASIDE} to ${dataDir}, and those that are there out of the way first, and remove ${noteOf(dataDir, variable)}.`),
    );
  // Where the file is gone that was moved, the copy's own mark is left, also of versions that noted nothing.
  const isCopied = existsSync(copyId) && !existsSync(join(dataDir, `${name}.sqlite`));
  if (isNoted(dataDir, variable) || isCopied)
    throw new ConfigError(
      `${variable}: it is not set, and the data of ${name} is on a server, which it named: ${isCopied ? copyId : noteOf(dataDir, variable)} says so. Set it as it was. ` +
        (database ? WITHOUT_MONGODB : "To begin without that data, choose another DATA_DIR, or remove the file."),
    );
}

/** Where a store is, and what it is made of. */
export function storeOptions(
  { dataDir, database = null, logger }: StorePlace,
  { name, entities, migrationsFolder, isEmbeddedOnly = false }: StoreTables,
): DatabaseOptions {
  if (database && !isEmbeddedOnly)
    return { ...database, logger, name, entities, migrations: readMigrations(migrationsFolder, "mysql") };
  return { logger, file: join(dataDir, `${name}.sqlite`), entities, migrations: readMigrations(migrationsFolder) };
}

/**
 * Opens one store of an installation and brings its tables up to date; made when missing. Several processes may have it open.
 * @throws ConfigError when the server cannot be used, or has the store's data and is not named, ToolyardError PRECONDITION_FAILED where DATA_DIR has the store from before there was a server
 */
export async function openStore(
  place: StorePlace,
  tables: StoreTables,
  options: Pick<DatabaseOptions, "migrate" | "isAlone"> = {},
): Promise<Database> {
  const file = join(place.dataDir, `${tables.name}.sqlite`);
  if (place.database && !tables.isEmbeddedOnly && !options.isAlone && existsSync(file))
    throw preconditionFailed(
      "data-directory",
      `${file} has data from before DATABASE_URL was set, which would not be there any more. \`npm run migrate:data\` copies all of it to ` +
        "the servers; to begin without it, put the *.sqlite files of DATA_DIR aside.",
    );
  const isOnServer = place.database && !tables.isEmbeddedOnly;
  // Commands that have it to themselves know of both places, and may move it.
  if (!isOnServer && !options.isAlone) refuseMoved(place, tables);
  const database = await openDatabase({ ...options, ...storeOptions(place, tables) });
  // A command that has the database to itself may still fail to fill it.
  if (isOnServer && !options.isAlone) await noteServer(place.dataDir, "DATABASE_URL");
  return database;
}
