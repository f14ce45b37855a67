import { join } from "node:path";
import type { WakeUpBus } from "@toolyard/events";
import { createScheduler, type Scheduler } from "@toolyard/scheduler";
import type { Logger } from "@toolyard/service-kit";
import { openDatabase, readMigrations, type Database, type DatabaseOptions } from "@toolyard/storage";
import { openTaskQueue, type TaskQueue } from "@toolyard/tasks";

/** Where one process keeps its data: a port, with an adapter for each kind of server. The subgraphs know only this. */
export interface Stores {
  /** The name of a store in `/health`: `sqlite`. */
  readonly kind: string;
  readonly bus: WakeUpBus;
  readonly scheduler: Scheduler;
  /** How long events, and records of what has ended, are kept. */
  readonly retentionMs: number;
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

const DEFAULT_RETENTION_MS = 30 * 86_400_000;

/** SQLite files in a folder. Several processes may have them open. */
export function createSqliteStores(options: {
  dataDir: string;
  bus: WakeUpBus;
  logger: Logger;
  now?: () => number;
  schedule?: string;
  retentionMs?: number;
}): Stores {
  const { dataDir, bus, retentionMs = DEFAULT_RETENTION_MS } = options;
  let queue: Promise<TaskQueue> | null = null;
  return {
    kind: "sqlite",
    bus,
    scheduler: createScheduler(options),
    retentionMs,
    openDatabase: ({ name, entities, migrationsFolder }) =>
      openDatabase({ file: join(dataDir, `${name}.sqlite`), entities, migrations: readMigrations(migrationsFolder) }),
    tasks: () => (queue ??= openTaskQueue(options)),
    async close() {
      await (await queue)?.close();
    },
  };
}
