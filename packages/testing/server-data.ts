import { createScratchDatabase } from "@toolyard/storage/mysql/scratch-database.ts";
import { newId } from "@toolyard/service-kit";
import { ownMongodb } from "./mongodb.ts";
import { removeRedisKeys } from "./redis.ts";

/** What one Toolyard keeps on the servers at TEST_MYSQL_URL, TEST_MONGODB_URL and TEST_REDIS_URL. */
export interface ServerData {
  /** The variables that name it. */
  env: Record<string, string>;
  drop(): Promise<void>;
}

/** By DATA_DIR: a Toolyard that is started again on one has its data on the servers, too. */
const kept = new Map<string, Promise<ServerData>>();

export function serverDataOf(dataDir: string): Promise<ServerData> {
  let data = kept.get(dataDir);
  if (!data) kept.set(dataDir, (data = create()));
  return data;
}

/** @param dataDir all of them, unless given */
export async function dropServerData(dataDir?: string): Promise<void> {
  const dropped = [...kept].filter(([each]) => dataDir === undefined || each === dataDir);
  for (const [each, data] of dropped) {
    kept.delete(each);
    await (await data).drop();
  }
}

async function create(): Promise<ServerData> {
  const { TEST_MYSQL_URL: mysqlUrl, TEST_REDIS_URL: redisUrl, TEST_MONGODB_URL: mongodbUrl } = process.env;
  if (!mysqlUrl || !redisUrl || !mongodbUrl)
    throw new Error("TOOLYARD_MODE=distributed needs TEST_MYSQL_URL, TEST_MONGODB_URL and TEST_REDIS_URL.");
  const database = await createScratchDatabase(mysqlUrl);
  const mongodb = ownMongodb();
  const keyPrefix = `test-${newId()}`;
  return {
    env: { DATABASE_URL: database.url, MONGODB_URL: mongodb.url, REDIS_URL: redisUrl, REDIS_PREFIX: keyPrefix },
    async drop() {
      await database.drop();
      await mongodb.close();
      await removeRedisKeys(keyPrefix, redisUrl);
    },
  };
}
