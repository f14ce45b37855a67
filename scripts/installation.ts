import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import type { MongodbConnection } from "@toolyard/mongodb";
import { createLogger, preconditionFailed } from "@toolyard/service-kit";
import type { Resealer } from "@toolyard/service-kit/identity/resealing.ts";
import { misspeltVariables } from "@toolyard/service-kit/process/config.ts";
import {
  parseDataConfig,
  type MongodbSettings,
  type ProcessConfig,
} from "@toolyard/service-kit/process/process-config.ts";
import { lockFolder, openStore, refuseMoved, storeOptions, type Database } from "@toolyard/storage";
import { lockMysqlDatabase } from "@toolyard/storage/mysql/server-lock.ts";
import { add, reseal, type Resealed } from "@toolyard/storage/reseal.ts";
import { refuseOpened } from "@toolyard/storage/sqlite/migrate.ts";
import { readStores, type StoreSchema } from "./store-schemas.ts";

const root = join(import.meta.dirname, "..");

/** Where an installation keeps its data, and the stores that it has, as commands work on them. */
export interface Installation extends Pick<ProcessConfig, "dataDir" | "database" | "mongodb"> {
  stores: StoreSchema[];
}

/** Of the environment; names in it that seem to be misspelt are told on stderr. @throws ConfigError, also where data is on a server that is not named */
export async function readInstallation(): Promise<Installation> {
  const { dataDir, database, mongodb } = parseDataConfig(process.env);
  for (const sentence of misspeltVariables(process.env)) process.stderr.write(`${sentence}\n`);
  const installation = { dataDir: resolve(dataDir), database, mongodb, stores: await readStores(root) };
  for (const store of installation.stores)
    if (!(store.isEmbeddedOnly ? mongodb : database)) refuseMoved(installation, store);
  return installation;
}

/** The store's file; null where a server keeps it. */
export function fileOf(installation: Installation, store: StoreSchema): string | null {
  const options = storeOptions(installation, store);
  return "file" in options ? options.file : null;
}

/** The stores that there are: all on a server, and of files those that were made. */
export function storesOf(installation: Installation): StoreSchema[] {
  return installation.stores.filter((store) => existsSync(fileOf(installation, store) ?? root));
}

/**
 * Does something to the stores while no process of Toolyard runs on them, and none may start.
 * @throws ToolyardError PRECONDITION_FAILED where there are none, or others have them open
 */
export async function alone<Result>(installation: Installation, work: () => Promise<Result>): Promise<Result> {
  const { dataDir, database, stores } = installation;
  await using locks = new AsyncDisposableStack();
  if (existsSync(dataDir)) {
    const lock = await lockFolder(dataDir, { waitMs: 0, isCommand: true });
    locks.defer(() => lock.release());
    // Parts that run alone, each on its own file, do not lock the folder.
    for (const { name } of stores) refuseOpened(join(dataDir, `${name}.sqlite`));
  } else if (database === null)
    throw preconditionFailed("data-directory", `There is no ${dataDir}. Say by DATA_DIR where Toolyard's data is.`);
  if (database) {
    const lock = await lockMysqlDatabase(database);
    locks.defer(() => lock.release());
  }
  return await work();
}

/** Has each store that there is open for work on it, one after the other, with its tables up to date. */
async function onEachStore(
  installation: Installation,
  work: (database: Database, store: StoreSchema) => Promise<void>,
): Promise<void> {
  for (const store of storesOf(installation)) {
    const database = await openStore(installation, store, { isAlone: true });
    try {
      await work(database, store);
    } finally {
      await database.close();
    }
  }
}

/** Seals all that is sealed in the stores, and in MongoDB, with the current key: see `reseal`. */
export async function resealStores(
  installation: Installation,
  resealer: Resealer,
  options: { signal: AbortSignal; say: (line: string) => void },
): Promise<Resealed> {
  const sum: Resealed = { opened: 0, resealed: 0, unopened: new Map() };
  await onEachStore(installation, async (database, { entities }) =>
    add(sum, await reseal(database, entities, resealer, options)),
  );
  await onMongodb(installation, async (mongodb) => {
    const { resealVersionContents } = await import("@toolyard/subgraph-tools/version-contents.mongodb.ts");
    add(sum, await resealVersionContents(mongodb, resealer, options));
  });
  return sum;
}

/** Has the installation's MongoDB open for work on it, where there is one. @throws ConfigError where it cannot be used */
async function onMongodb(
  { mongodb: settings }: Installation,
  work: (mongodb: MongodbConnection) => Promise<void>,
): Promise<void> {
  if (!settings) return;
  const mongodb = await connectMongodb(settings);
  try {
    await work(mongodb);
  } finally {
    await mongodb.close();
  }
}

/** Loaded only where it is used. @throws ConfigError where it cannot be used */
export async function connectMongodb(settings: MongodbSettings): Promise<MongodbConnection> {
  const { openMongodb } = await import("@toolyard/mongodb");
  return openMongodb({ settings, name: "command", logger: createLogger({ level: "silent", name: "command" }) });
}
