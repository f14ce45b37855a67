/**
 * A query of three hops (a deployment, its tool, the tool's author) where each part is a process of its own, over HTTP, beside one process that
 * calls its subgraphs without: both on the same MySQL, MongoDB and Redis, TEST_MYSQL_URL's, TEST_MONGODB_URL's and TEST_REDIS_URL's. In turns;
 * medians. `node tests/bench/run.ts distributed`
 */
import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { logIn, startToolyard } from "@toolyard/testing";
import { dropServerData, serverDataOf } from "@toolyard/testing/server-data.ts";
import { Agent, request } from "undici";

const TURN_MS = 2_000;
/** The first warms up. */
const ROUNDS = 6;
const QUERY = "{ deployments(first: 10) { edges { node { name status tool { slug author { username } } } } } }";
const env = { SAMPLE: "true", RATE_LIMIT_ENABLED: "false", LOG_LEVEL: "error" };

const missing = ["TEST_MYSQL_URL", "TEST_MONGODB_URL", "TEST_REDIS_URL"].filter((name) => !process.env[name]);
if (missing.length > 0) {
  console.log(`left out: ${missing.join(", ")} must name servers`);
  process.exit(0);
}

const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

await using folder = await mkdtempDisposable(join(tmpdir(), "toolyard-bench-"));
const servers = await serverDataOf(folder.path);
await using one = await startToolyard({ dataDir: folder.path, env: { ...servers.env, ...env } });
await using many = await startToolyard({ distributed: true, env });
const ways = { one, many };
type Way = keyof typeof ways;
const dispatcher = new Agent({ connections: 16 });
const tokens = {
  one: await logIn(one.url, "admin", one.adminPassword),
  many: await logIn(many.url, "admin", many.adminPassword),
};

async function ask(way: Way): Promise<void> {
  const answer = await request(`${ways[way].url}/graphql`, {
    dispatcher,
    method: "POST",
    headers: { authorization: `Bearer ${tokens[way]}`, "content-type": "application/json" },
    body: JSON.stringify({ query: QUERY }),
  });
  const text = await answer.body.text();
  if (answer.statusCode !== 200 || !text.includes('"username":"admin"')) throw new Error(text);
}

/** Milliseconds of each, one after the other; and how many a second, so many at once. */
async function measure(way: Way, concurrency: number): Promise<{ ms: number; perSecond: number }> {
  const started = performance.now();
  const times: number[] = [];
  await Promise.all(
    Array.from({ length: concurrency }, async () => {
      while (performance.now() - started < TURN_MS) {
        const from = performance.now();
        await ask(way);
        times.push(performance.now() - from);
      }
    }),
  );
  return { ms: median(times), perSecond: times.length / ((performance.now() - started) / 1_000) };
}

for (const concurrency of [1, 16]) {
  const ms: Record<Way, number[]> = { one: [], many: [] };
  const perSecond: Record<Way, number[]> = { one: [], many: [] };
  for (let round = 0; round < ROUNDS; round++)
    for (const way of ["one", "many"] as const) {
      const found = await measure(way, concurrency);
      if (round === 0) continue;
      ms[way].push(found.ms);
      perSecond[way].push(found.perSecond);
    }
  const [a, b] =
    concurrency === 1 ? [median(ms.many), median(ms.one)] : [median(perSecond.many), median(perSecond.one)];
  const what = concurrency === 1 ? "p50, one after the other" : `a second, ${concurrency} at once`;
  const digits = concurrency === 1 ? 1 : 0;
  console.log(
    `three hops, each part a process, of all in one: ${what.padEnd(26)} ${(a / b).toFixed(2)} (${a.toFixed(digits)} / ${b.toFixed(digits)})`,
  );
}
await dispatcher.close();
await one.stop();
await dropServerData(folder.path);
