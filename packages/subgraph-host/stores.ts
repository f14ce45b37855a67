import { join } from "node:path";
import type { WakeUpBus } from "@toolyard/events";
import type { Logger } from "@toolyard/service-kit";
import { openDatabase, readMigrations, type Database, type DatabaseOptions } from "@toolyard/storage";
import { openTaskQueue, type TaskQueue } from "@toolyard/tasks";

/** Where one process keeps its data: a port, with an adapter for each kind of server. The subgraphs know only this. */
export interface Stores {
  /** The name of a store in `/health`: `sqlite`. */
  readonly kind: string;
  readonly bus: WakeUpBus;
  /** Opens a subgraph's relational store and migrates it. The caller closes it. */
  openDatabase(options: {
    /** The subgraph's name. */
    name: string;
    entities: DatabaseOptions["entities"];
    migrationsFolder: string;
  }): Promise<Database>;
  /** The one task queue of this process, opened when it is first asked for. */
  tasks(): Promise<TaskQueue>;
  /** Closes everything that subgraphs share. To be called after they are closed. */
  close(): Promise<void>;
}

/** SQLite files in a folder. Several processes may have them open. */
export function createSqliteStores(options: {
  dataDir: string;
  bus: WakeUpBus;
  logger: Logger;
  now?: () => number;
}): Stores {
  const { dataDir, bus } = options;
  let queue: Promise<TaskQueue> | null = null;
  return {
    kind: "sqlite",
    bus,
    openDatabase: ({ name, entities, migrationsFolder }) =>
      openDatabase({ file: join(dataDir, `${name}.sqlite`), entities, migrations: readMigrations(migrationsFolder) }),
    tasks: () => (queue ??= openTaskQueue(options)),
    async close() {
      await (await queue)?.close();
    },
  };
}
