import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { openMongodb, type MongodbConnection } from "@toolyard/mongodb";
import { createLogger, newId, type Logger } from "@toolyard/service-kit";
import { describe } from "vitest";

const url = process.env.TEST_MONGODB_URL ?? "";
const logger = createLogger({ level: "silent", name: "test" });

/** Why tests with the MongoDB at TEST_MONGODB_URL cannot be had; null: they can. */
const noServer = url === "" ? "TEST_MONGODB_URL is not set" : await whyUnreached();

async function whyUnreached(): Promise<string | null> {
  try {
    await (await openMongodb({ settings: { url, ca: null }, name: "test", logger, startMs: 0 })).close();
    return null;
  } catch (error) {
    return `TEST_MONGODB_URL cannot be reached: ${String(error)}`;
  }
}

/** Tests on the MongoDB at TEST_MONGODB_URL: skipped, with the reason, where it cannot be reached. */
export function describeOnMongodb(name: string, define: () => void): void {
  if (noServer === null) describe(name, define);
  else describe.skip(`${name} (skipped: ${noServer})`, define);
}

/** The URL of a database of its own. @param host in place of the server's */
function databaseUrl(database: string, host?: string): string {
  const [, scheme, userinfo = "", hosts, , options = ""] =
    /^(mongodb(?:\+srv)?:\/\/)([^@/]*@)?([^/?]+)(\/[^?]*)?(\?.*)?$/.exec(url) ?? [];
  return `${scheme}${userinfo}${host ?? hosts}/${database}${options}`;
}

export interface OwnMongodb {
  readonly url: string;
  /** A connection as another process has it, closed at the end. */
  open(options?: { url?: string; logger?: Logger }): Promise<MongodbConnection>;
  /** Drops the database. */
  close(): Promise<void>;
}

/** A database of its own on the MongoDB at TEST_MONGODB_URL. */
export function ownMongodb(): OwnMongodb {
  const database = `test-${newId()}`;
  const opened: MongodbConnection[] = [];
  const own = databaseUrl(database);
  const open = async (options: { url?: string; logger?: Logger } = {}) => {
    const settings = { url: options.url ?? own, ca: null };
    const mongodb = await openMongodb({ settings, name: "test", logger: options.logger ?? logger, startMs: 5_000 });
    opened.push(mongodb);
    return mongodb;
  };
  return {
    url: own,
    open,
    async close() {
      // Nothing else is in it, and a server that is held up by another test keeps it.
      await (await open({ url: own })).connection.dropDatabase().catch(() => undefined);
      for (const mongodb of opened) await mongodb.close();
    },
  };
}

/** The way to the server, which can be blocked as if it went away. */
export interface WayToMongodb {
  /** Of a database by its name. */
  url(database: string): string;
  /** Ends all connections, and takes none. */
  close(): Promise<void>;
  open(): Promise<void>;
  /** Leaves connections open on which nothing comes any more. */
  pause(): void;
  resume(): void;
}

/** A way of its own to the server at TEST_MONGODB_URL, which must be one that is spoken to directly. */
export async function withWayToMongodb(run: (way: WayToMongodb) => Promise<void>): Promise<void> {
  const server = new URL(databaseUrl("any").replace(/^mongodb:/, "http:"));
  const sockets = new Set<Socket>();
  let listener: Server | null = null;
  let port = 0;
  let paused = false;
  const relay = (near: Socket) => {
    const far = connect({ host: server.hostname, port: Number(server.port || 27_017) });
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one);
      one.on("data", (data) => other.write(data));
      one.on("error", () => other.destroy());
      one.on("close", () => {
        sockets.delete(one);
        other.destroy();
      });
      if (paused) one.pause();
    }
  };
  const way: WayToMongodb = {
    url: (database) => databaseUrl(database, `127.0.0.1:${port}`),
    async open() {
      listener = createServer(relay).listen(port, "127.0.0.1");
      await once(listener, "listening");
      ({ port } = listener.address() as AddressInfo);
    },
    async close() {
      const closing = listener;
      listener = null;
      if (!closing) return;
      const closed = once(closing, "close");
      closing.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
    pause() {
      paused = true;
      for (const socket of sockets) socket.pause();
    },
    resume() {
      paused = false;
      for (const socket of sockets) socket.resume();
    },
  };
  await way.open();
  try {
    await run(way);
  } finally {
    await way.close();
  }
}
