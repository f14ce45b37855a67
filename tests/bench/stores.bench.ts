/**
 * The same stores on SQLite and on a server, as ratios: a page of 100 tools with their authors and deployments, through the graph, out of 1,000
 * and of 100,000; usage records, in batches as proxies send them. The server is TEST_MYSQL_URL's, where it is set. `node tests/bench/run.ts stores`
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { newId } from "@toolyard/service-kit";
import { insertRows, observeStatements, openStore, type Database, type StorePlace } from "@toolyard/storage";
import { createScratchDatabase } from "@toolyard/storage/mysql/scratch-database.ts";
import * as deployments from "@toolyard/subgraph-deployments/database.ts";
import { createSqlUsageStore } from "@toolyard/subgraph-deployments/usage/usage-store.sql.ts";
import * as identity from "@toolyard/subgraph-identity/database.ts";
import * as tools from "@toolyard/subgraph-tools/database.ts";
import type { EntitySchema, ObjectLiteral } from "typeorm";
import { openInstallation } from "../architecture/fixtures/installation.ts";
import { onlyDeploymentRow, usageBatch } from "./scale/deployment-rows.ts";
import * as rows from "./scale/rows.ts";

const SIZES = [1_000, 100_000] as const;
const PAGES = 40;
const CHUNK = 1_000;
const BATCHES = 40;
const BATCH = 500;
const PAGE = `{ tools(first: 100) { edges { node { slug name author { username }
  deployments(first: 5) { edges { node { name status health } } } } } } }`;

interface Measured {
  pageMs: number[];
  statements: number;
  recordsPerSecond: number;
  rowsPerSecond: number;
}

const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

async function measure(name: string, place: StorePlace): Promise<Measured> {
  const open = (
    store: string,
    { entities, migrationsFolder }: { entities: EntitySchema[]; migrationsFolder: string },
  ) => openStore(place, { name: store, entities, migrationsFolder });
  const stores = {
    tools: await open("tools", tools),
    identity: await open("identity", identity),
    deployments: await open("deployments", deployments),
  };
  await insert(stores.identity, identity.users, indices(0, 100).map(rows.userRow));
  const pageMs: number[] = [];
  const counts = new Set<number>();
  let filled = 0;
  for (const size of SIZES) {
    for (; filled < size; filled += CHUNK) {
      const added = indices(filled, filled + CHUNK);
      await insert(stores.tools, tools.toolEntity, added.map(rows.toolRow));
      await insert(
        stores.tools,
        tools.toolVersionEntity,
        added.map((index) => rows.versionRow(index, 1)),
      );
      await insert(stores.deployments, deployments.deploymentEntity, added.map(onlyDeploymentRow));
      if (filled % 10_000 === 0) console.log(`  ${name}: filling, ${filled} of ${size} tools`);
    }
    const { ms, statements } = await pageOf(place);
    pageMs.push(ms);
    counts.add(statements);
  }
  if (counts.size > 1)
    throw new Error(`On ${name}, a page's statements grow with the tools: ${[...counts].join(", ")}.`);
  const usage = await measureUsage(stores.deployments);
  for (const store of Object.values(stores)) await store.close();
  return { pageMs, statements: [...counts][0] ?? 0, ...usage };
}

async function pageOf(place: StorePlace): Promise<{ ms: number; statements: number }> {
  await using installation = await openInstallation({ ...place, start: false });
  const took: number[] = [];
  let statements = 0;
  const end = observeStatements(() => (statements += 1));
  for (let page = 0; page < PAGES; page += 1) {
    const began = performance.now();
    const { tools: found } = await installation.run<{
      tools: { edges: { node: { deployments: { edges: unknown[] } } }[] };
    }>(PAGE);
    took.push(performance.now() - began);
    const isWhole = found.edges.length === 100 && found.edges.every(({ node }) => node.deployments.edges.length === 1);
    if (!isWhole) throw new Error("The page is not what was filled in.");
  }
  end();
  return { ms: median(took), statements: statements / PAGES };
}

async function measureUsage(database: Database): Promise<{ recordsPerSecond: number; rowsPerSecond: number }> {
  const store = createSqlUsageStore(database);
  const batchOf = (index: number) => usageBatch(index % 40, BATCH).records.map((call) => ({ ...call, id: newId() }));
  const rate = async (write: (calls: ReturnType<typeof batchOf>) => Promise<unknown>) => {
    const batches = Array.from({ length: BATCHES }, (_, index) => batchOf(index));
    const began = performance.now();
    for (const batch of batches) await write(batch);
    return (BATCHES * BATCH) / ((performance.now() - began) / 1_000);
  };
  return {
    recordsPerSecond: await rate((calls) => store.record(newId(), calls, Date.now())),
    rowsPerSecond: await rate((calls) => insert(database, deployments.usageRecordEntity, calls)),
  };
}

const indices = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => from + index);

function insert<Row extends ObjectLiteral>(database: Database, entity: EntitySchema<Row>, all: readonly Row[]) {
  return database.transaction(({ manager }) => insertRows(manager, entity, all));
}

function print(name: string, { pageMs, statements, recordsPerSecond, rowsPerSecond }: Measured): void {
  const [few = 0, many = 0] = pageMs;
  console.log(
    `  ${name}: a page of 100 tools with authors and deployments out of 100,000 takes ${many.toFixed(1)} ms, ${(many / few).toFixed(2)} of what it takes out of 1,000, and ${statements} statements at either`,
  );
  console.log(
    `  ${name}: ${recordsPerSecond.toFixed(0)} usage records/s in batches of ${BATCH}, ${(recordsPerSecond / rowsPerSecond).toFixed(2)} of their bare rows (${rowsPerSecond.toFixed(0)}/s)`,
  );
}

const dataDir = await mkdtemp(join(tmpdir(), "toolyard-bench-"));
const sqlite = await measure("SQLite", { dataDir });
print("SQLite", sqlite);
const serverUrl = process.env["TEST_MYSQL_URL"];
if (!serverUrl) console.log("  MySQL: skipped, TEST_MYSQL_URL is not set");
else {
  const { url, drop } = await createScratchDatabase(serverUrl);
  const mysql = await measure("MySQL", { dataDir, database: { url, ca: null, poolSize: 6 } });
  await drop();
  print("MySQL", mysql);
  const page = (mysql.pageMs[1] ?? 0) / (sqlite.pageMs[1] ?? 1);
  const records = mysql.recordsPerSecond / sqlite.recordsPerSecond;
  console.log(`  MySQL of SQLite: the page ${page.toFixed(1)} times the time, ${records.toFixed(2)} of the records/s`);
}
await rm(dataDir, { recursive: true });
