import { setTimeout as delay } from "node:timers/promises";
import { measureHealth, messageOf, type Gauge, type Logger, type ServiceHealth } from "@toolyard/service-kit";
import { ConfigError } from "@toolyard/service-kit/process/config.ts";
import type { MongodbSettings } from "@toolyard/service-kit/process/process-config.ts";
import mongoose, { type ClientSession, type Connection, type ConnectOptions } from "mongoose";
import { CALL_MS, againOnConflict } from "./conflicts.ts";
import { UnknownCommitError, mongodbFailureOf, mongodbReasonOf } from "./failures.ts";

/**
 * A process's connections to MongoDB, which may go away and come back at any time: operations fail within seconds meanwhile, and those
 * that come after are served. Reads see what a majority has, and writes are acknowledged when a majority keeps them.
 */
export interface MongodbConnection {
  readonly connection: Connection;
  /** For another process that opens the same. A secret. */
  readonly settings: MongodbSettings;
  /**
   * Runs `work` in a transaction, given up when it throws; again where another was in its way, so it keeps nothing outside that a run which
   * came to nothing would leave behind. Every operation in it takes the session.
   * @param options.withinMs With all its runs; what is not done then is given up.
   */
  transaction<Result>(
    work: (session: ClientSession) => Promise<Result>,
    options?: { withinMs?: number },
  ): Promise<Result>;
  /** `mongodb`: whether it answers. Not essential: all that is kept elsewhere goes on without it. */
  health(): Promise<ServiceHealth>;
  gauges(): Gauge[];
  close(): Promise<void>;
}

/** Where the URL names none. */
const DATABASE = "toolyard";
const POOL_SIZE = 20;
const SELECT_MS = 2_000;
const OPERATION_MS = 10_000;
const HEALTH_MS = 2_000;
/** For a server that starts with this process. */
const START_MS = 30_000;

/**
 * Connects, and waits for a server that starts at the same time. `name` is the process's, as the server's log shows it.
 * @throws ConfigError when the URL has options that MongoDB's driver does not take, or there is no such server.
 */
export async function openMongodb(options: {
  settings: MongodbSettings;
  name: string;
  logger: Logger;
  poolSize?: number;
  startMs?: number;
  signal?: AbortSignal | undefined;
}): Promise<MongodbConnection> {
  const { settings, name, logger, poolSize = POOL_SIZE, startMs = START_MS, signal } = options;
  const connection = mongoose.createConnection();
  let lastFailure: string | null = null;
  function failed(error: unknown): void {
    const reason = mongodbReasonOf(error);
    if (reason === lastFailure) return;
    lastFailure = reason;
    logger.warn({ reason }, "MongoDB is not usable");
  }
  function works(): void {
    if (lastFailure !== null) logger.info("MongoDB is usable again");
    lastFailure = null;
  }

  const deadline = performance.now() + startMs;
  for (;;) {
    try {
      await connection.openUri(settings.url, optionsOf(settings, name, poolSize));
      break;
    } catch (error) {
      await connection.close(true).catch(() => undefined);
      const reason = mongodbReasonOf(error);
      // The driver's messages may repeat the URL.
      if (mongodbFailureOf(error) === null && reason === "It cannot be used.")
        throw new ConfigError(`MONGODB_URL: ${refusalOf(error, settings.url)}`);
      if (performance.now() > deadline || signal?.aborted || mongodbFailureOf(error) === "refused")
        throw new ConfigError(`MONGODB_URL: the MongoDB that it names cannot be used. ${reason}`, { cause: error });
      failed(error);
    }
    await delay(500);
  }
  works();
  const client = connection.getClient();

  /** @throws UnknownCommitError where the result stays unknown: the transaction may be there, so it is not run again. */
  async function commit(session: ClientSession, until: number): Promise<void> {
    for (let wasUnknown = false; ;) {
      try {
        await session.commitTransaction();
        return;
      } catch (error) {
        const isUnknown =
          error instanceof mongoose.mongo.MongoError && error.hasErrorLabel("UnknownTransactionCommitResult");
        if (!isUnknown && !wasUnknown) throw error;
        if (!isUnknown || performance.now() > until)
          throw new UnknownCommitError("Whether a transaction was committed is not known.", { cause: error });
        wasUnknown = true;
      }
      await delay(100);
    }
  }

  return {
    connection,
    settings,
    async transaction(work, { withinMs = CALL_MS } = {}) {
      const session = client.startSession();
      const until = performance.now() + withinMs;
      const attempt = async () => {
        try {
          session.startTransaction({
            readConcern: { level: "snapshot" },
            writeConcern: { w: "majority", journal: true },
            readPreference: "primary",
          });
          const result = await work(session);
          await commit(session, until);
          return result;
        } catch (error) {
          if (session.inTransaction()) await session.abortTransaction().catch(() => undefined);
          throw error;
        }
      };
      try {
        return await againOnConflict(attempt, withinMs);
      } finally {
        await session.endSession();
      }
    },
    async health() {
      return measureHealth(
        "mongodb",
        async () => {
          try {
            await client.db().command({ ping: 1 });
            works();
          } catch (error) {
            failed(error);
            throw new Error(`${mongodbReasonOf(error)} It is looked for where MONGODB_URL says.`, { cause: error });
          }
        },
        { timeoutMs: SELECT_MS + HEALTH_MS },
      );
    },
    gauges: () => [
      {
        name: "mongodb_connected",
        help: "Whether the process is connected to MongoDB.",
        labels: { process: name },
        value: connection.readyState === mongoose.ConnectionStates.connected ? 1 : 0,
      },
    ],
    close: () => connection.close(),
  };
}

/** Why the driver does not even look for a server. Its own messages may repeat the URL; the names of its options are no secret. */
function refusalOf(error: unknown, url: string): string {
  const { MongoAPIError, MongoParseError } = mongoose.mongo;
  if (!(error instanceof MongoAPIError || error instanceof MongoParseError))
    return "its host cannot be resolved, or is none.";
  const names = [...new URLSearchParams(url.split("?")[1]).keys()].filter((name) => /^\w+$/.test(name));
  const words = new Set(messageOf(error).match(/\w+/g));
  const name = names.find((one) => words.has(one));
  return `it has options that MongoDB's driver does not take${name === undefined ? "" : `: ${name}`}.`;
}

function optionsOf({ url, ca }: MongodbSettings, name: string, poolSize: number): ConnectOptions {
  const given = new URLSearchParams(url.split("?")[1] ?? "");
  /** Unless the URL says another. */
  const bounds = {
    maxPoolSize: poolSize,
    serverSelectionTimeoutMS: SELECT_MS,
    connectTimeoutMS: SELECT_MS,
    socketTimeoutMS: OPERATION_MS,
    waitQueueTimeoutMS: OPERATION_MS,
    maxIdleTimeMS: 60_000,
    heartbeatFrequencyMS: 2_000,
  };
  const hasDatabase = /^[^/]+\/\/[^/?]+\/[^?]/.test(url);
  return {
    ...Object.fromEntries(Object.entries(bounds).filter(([option]) => !given.has(option))),
    ...(!hasDatabase && { dbName: DATABASE }),
    ...(ca !== null && { tls: true, ca }),
    appName: `toolyard-${name}`,
    readPreference: "primary",
    readConcern: { level: "majority" },
    writeConcern: { w: "majority", journal: true },
    retryReads: true,
    retryWrites: true,
    autoCreate: false,
    autoIndex: false,
    bufferCommands: false,
  };
}
