import { readFileSync } from "node:fs";
import { join } from "node:path";
import { buildSubgraphSchema } from "@apollo/subgraph";
import type { GraphQLResolverMap } from "@apollo/subgraph/dist/schema-helper/resolverMap.js";
import { createEventLog, createEventTail, type EventLog, type EventLogSchema, type EventTail } from "@toolyard/events";
import type { MongodbConnection } from "@toolyard/mongodb";
import type { Job, ScheduledJobs } from "@toolyard/scheduler";
import {
  measureHealth,
  messageOf,
  type Gauge,
  type GraphClient,
  type Logger,
  type RequestContext,
  type ServiceHealth,
  type Subgraph,
} from "@toolyard/service-kit";
import { databaseFailureOf, type Database, type StoreTables } from "@toolyard/storage";
import type { RegistrationOptions, TaskHandler, TaskKind, TaskQueue, TaskWorker } from "@toolyard/tasks";
import { parse } from "graphql";
import type { Stores } from "./stores.ts";

/** The resources that a process gives each subgraph that it hosts. */
export interface SubgraphOptions {
  logger: Logger;
  graph: GraphClient;
  /** Current first. */
  secretKeys: readonly string[];
  /** The folder for files of its own. */
  dataDir: string;
  /** The process's, which closes them after its subgraphs. */
  stores: Stores;
  /** Whether its tasks and scheduled jobs run in this process. @default true; false where workers run them */
  runsTasks?: boolean | undefined;
  /** Aborts when Toolyard begins to stop: shutdown does not wait for long work. */
  signal?: AbortSignal | undefined;
  /** Epoch milliseconds. */
  now?: (() => number) | undefined;
}

/** For subgraphs that have variables of their own. */
export interface ConfiguredSubgraphOptions<Config> extends SubgraphOptions {
  config: Config;
}

/** Opens the stores of one subgraph, and closes them with it. */
export interface SubgraphHost {
  readonly now: () => number;
  /** Aborts when the subgraph begins to close. */
  readonly closing: AbortSignal;
  openDatabase(tables: Omit<StoreTables, "name">): Promise<Database>;
  /** A log in one of the subgraph's databases, and its live tail. */
  openEventLog<Payload>(options: { database: Database; schema: EventLogSchema }): {
    log: EventLog<Payload>;
    tail: EventTail<Payload>;
  };
  /** The process's MongoDB, if it has one. @throws ConfigError as of `Stores.mongodb` */
  mongodb(): Promise<MongodbConnection | null>;
  /** The process's queue. */
  tasks(): Promise<TaskQueue>;
  /** Runs when the subgraph closes: after its streams have ended, last first, and before its stores close. */
  onClose(close: () => unknown): void;
}

/** How tasks of a kind are run. */
interface TaskRunner extends RegistrationOptions {
  handler: TaskHandler;
}

/** The parts in which subgraphs differ. */
export interface SubgraphParts<Methods extends object = object> {
  /** Of the type that is generated from its schema. */
  resolvers: object;
  createContext(request: RequestContext): object;
  /** Kinds of tasks that it runs, from when it starts, where it `runsTasks`. */
  tasks?: Partial<Record<TaskKind, TaskRunner>>;
  /** Work that is to be done regularly, likewise. */
  jobs?: readonly Job[];
  /** Begins its other background work. */
  start?(): unknown;
  /** Health of its dependencies, except its databases. */
  health?(): Promise<ServiceHealth[]>;
  gauges?(): Promise<Gauge[]>;
  /** What its process may use besides the port. */
  methods?: Methods;
}

/**
 * Opens a subgraph: its schema from `generated/schema.graphql` in `folder`, its stores by the host. When `build` fails, everything that
 * it opened is closed.
 */
export async function openSubgraph<Methods extends object = object>(
  definition: { name: string; folder: string },
  options: Pick<SubgraphOptions, "stores" | "logger" | "runsTasks" | "now">,
  build: (host: SubgraphHost) => Promise<SubgraphParts<Methods>>,
): Promise<Subgraph & Methods> {
  const { name, folder } = definition;
  const { stores, logger, runsTasks = true, now = stores.now } = options;
  const { bus } = stores;
  const databases: Database[] = [];
  const tails: { close(): void }[] = [];
  const closers: (() => unknown)[] = [];
  let workers: TaskWorker[] = [];
  let jobs: ScheduledJobs | null = null;
  /** Where the subgraph keeps something there. */
  let mongodb: Promise<MongodbConnection | null> | null = null;
  const abort = new AbortController();

  async function closeAll(): Promise<void> {
    abort.abort();
    for (const tail of tails) tail.close();
    // Aborts the runs: they use stores that are about to close.
    const ended = Promise.all([jobs, ...workers].map(async (worker) => worker?.close()));
    const failures: unknown[] = [];
    const closing = [...closers.toReversed(), () => ended, ...databases.map((database) => () => database.close())];
    for (const close of closing) {
      try {
        await close();
      } catch (error) {
        // It ends in order all the same: what could not be written, as of leases and replicas, the next start finds out.
        if (databaseFailureOf(error) === "lost-connection")
          logger.warn({ reason: messageOf(error) }, "the end could not be written: the database is away");
        else failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
  let closed: Promise<void> | null = null;
  const close = () => (closed ??= closeAll());

  const host: SubgraphHost = {
    now,
    closing: abort.signal,
    async openDatabase(wanted) {
      const database = await stores.openDatabase({ name, ...wanted });
      databases.push(database);
      return database;
    },
    openEventLog<Payload>(wanted: { database: Database; schema: EventLogSchema }) {
      const log = createEventLog<Payload>({ ...wanted, bus, now });
      const tail = createEventTail({ log, bus, logger });
      tails.push(tail);
      return { log, tail };
    },
    mongodb: () => (mongodb = stores.mongodb()),
    tasks() {
      // Their results.
      mongodb = stores.mongodb();
      return stores.tasks();
    },
    onClose: (closer) => void closers.push(closer),
  };

  try {
    const parts = await build(host);
    const typeDefs = parse(readFileSync(join(folder, "generated", "schema.graphql"), "utf8"));
    const subgraph: Subgraph = {
      name,
      // The generated type says which resolvers there may be; Apollo's only that there are some, by any name.
      schema: buildSubgraphSchema({ typeDefs, resolvers: parts.resolvers as GraphQLResolverMap<unknown> }),
      createContext: parts.createContext,
      async start() {
        if (await mongodb) await stores.noteMongodb();
        const runners = Object.entries(parts.tasks ?? {}) as [TaskKind, TaskRunner][];
        if (runsTasks && runners.length > 0) {
          const queue = await stores.tasks();
          workers = runners.map(([kind, { handler, ...registration }]) => queue.register(kind, handler, registration));
        }
        if (runsTasks && parts.jobs) jobs = stores.scheduler.add(parts.jobs);
        await parts.start?.();
      },
      async health() {
        const own = databases.map(healthOf);
        const connection = await mongodb;
        if (connection) own.push(connection.health());
        // At once: who asks does not wait for several that are away, one after the other.
        const [stores, others = []] = await Promise.all([Promise.all(own), parts.health?.()]);
        return [...stores, ...(jobs ? [jobs.health()] : []), ...others];
      },
      gauges: async () => [...((await parts.gauges?.()) ?? []), ...(jobs?.gauges() ?? [])],
      close,
    };
    return Object.assign(subgraph, parts.methods);
  } catch (error) {
    await close();
    throw error;
  }
}

/** Degraded where it answers, and some reads or all changes fail. */
async function healthOf(database: Database): Promise<ServiceHealth> {
  const kind = database.file === null ? "mysql" : "sqlite";
  const health = await measureHealth(kind, () => database.ping(), { essential: true });
  const detail = health.status === "healthy" ? await database.whyFailing() : null;
  return detail === null ? health : { ...health, status: "degraded", detail };
}
