/**
 * What a distributed installation that nobody uses asks of its servers, TEST_MYSQL_URL's, TEST_MONGODB_URL's and TEST_REDIS_URL's: a gateway, a proxy, a worker and
 * the subgraphs, each a process of its own. Statements and commands are counted by the servers, on which nothing else may run. `node tests/bench/run.ts idle`
 */
import { setTimeout as delay } from "node:timers/promises";
import { startToolyard } from "@toolyard/testing";
import { Redis } from "ioredis";
import mysql, { type RowDataPacket } from "mysql2/promise";

/** What a start leaves to be done passes. */
const SETTLE_MS = 20_000;
const WINDOW_MS = 40_000;

const { TEST_MYSQL_URL: mysqlUrl, TEST_REDIS_URL: redisUrl, TEST_MONGODB_URL: mongodbUrl } = process.env;
if (!mysqlUrl || !redisUrl || !mongodbUrl) {
  console.log("  left out: TEST_MYSQL_URL, TEST_MONGODB_URL and TEST_REDIS_URL must name servers");
  process.exit();
}
const server = await mysql.createConnection(mysqlUrl);
const redis = new Redis(redisUrl);

async function statements(): Promise<Map<string, number>> {
  const [rows] = await server.query<RowDataPacket[]>("SHOW GLOBAL STATUS LIKE 'Com\\_%'");
  return new Map(rows.map((row) => [String(row["Variable_name"]).slice(4), Number(row["Value"])]));
}
/** Those of scripts are not counted. */
async function commands(): Promise<Map<string, number>> {
  const found = (await redis.info("commandstats")).matchAll(/cmdstat_(\S+?):calls=(\d+)/g);
  return new Map(Array.from(found, ([, name = "", calls]) => [name, Number(calls)]));
}
const counted = { "statements on MySQL": statements, "commands on Redis": commands };

await using toolyard = await startToolyard({ distributed: true, env: { SAMPLE: "true", LOG_LEVEL: "error" } });
console.log(`  ${toolyard.url} is left alone for ${(SETTLE_MS + WINDOW_MS) / 1_000} s`);
await delay(SETTLE_MS);
const before = await Promise.all(Object.values(counted).map((count) => count()));
const began = performance.now();
await delay(WINDOW_MS);
for (const [index, [what, count]] of Object.entries(counted).entries()) {
  const seconds = (performance.now() - began) / 1_000;
  const found = [...(await count())]
    .map(([name, calls]) => [name, (calls - (before[index]?.get(name) ?? 0)) / seconds] as const)
    .filter(([, perSecond]) => perSecond >= 0.05)
    .toSorted((a, b) => b[1] - a[1]);
  const sum = found.reduce((all, [, perSecond]) => all + perSecond, 0);
  console.log(
    `  idle: ${sum.toFixed(1)} ${what} a second (${found.map(([name, perSecond]) => `${name} ${perSecond.toFixed(1)}`).join(", ")})`,
  );
}
await server.end();
redis.disconnect();
