import { openMongodb, type MongodbConnection } from "@toolyard/mongodb";
import { createLogger, newId, type Logger } from "@toolyard/service-kit";
import { describe } from "vitest";
import { withWayTo, type WayToServer } from "./way-to-server.ts";

const url = process.env.TEST_MONGODB_URL ?? "";
const logger = createLogger({ level: "silent", name: "test" });

/** Why tests with the MongoDB at TEST_MONGODB_URL cannot be had; null: they can. */
const noServer = url === "" ? "TEST_MONGODB_URL is not set" : await whyUnreached();

async function whyUnreached(): Promise<string | null> {
  try {
    await (await openMongodb({ settings: { url, ca: null }, name: "test", logger, startMs: 10_000 })).close();
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

/** The way to the server at TEST_MONGODB_URL, which must be one that is spoken to directly. */
export async function withWayToMongodb(
  run: (way: WayToServer & { url(database: string): string }) => Promise<void>,
): Promise<void> {
  const { hostname, port } = new URL(databaseUrl("any").replace(/^mongodb:/, "http:"));
  await withWayTo({ host: hostname, port: Number(port || 27_017) }, (way) =>
    run({ ...way, url: (database) => databaseUrl(database, way.host) }),
  );
}
