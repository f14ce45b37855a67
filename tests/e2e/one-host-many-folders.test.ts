import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, readdir, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createProcessTable } from "@toolyard/runtimes/process/process-table.ts";
import { systemCodeOf } from "@toolyard/service-kit/errors/errors.ts";
import {
  connectMcp,
  eventually,
  freePort,
  graphqlClient,
  logIn,
  processesWith,
  startToolyard,
  type RunningToolyard,
} from "@toolyard/testing";
import { embeddedOnly } from "@toolyard/testing/mode.ts";
import LibsqlDatabase from "libsql";
import { afterEach, beforeEach, expect, test } from "vitest";
import { sampleServerEntry } from "../../standalone/sample.ts";

/*
 * Several Toolyards on one host, and folders that are copied, moved and restored while replicas run: none loses a replica to another.
 */

let folder: string;
const running: RunningToolyard[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "toolyard-folders-"));
});
afterEach(async () => {
  for (const toolyard of running.splice(0)) await toolyard.stop();
  for (const pid of await processesWith(folder)) {
    try {
      process.kill(pid, "SIGKILL"); // one that was kept
    } catch (error) {
      if (systemCodeOf(error) !== "ESRCH") throw error; // its sandbox, which was killed, took it along
    }
  }
  await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
});

const KEEP = { REPLICAS_ON_EXIT: "keep" };
async function start(name: string, env: Record<string, string> = {}): Promise<RunningToolyard> {
  const toolyard = await startToolyard({ dataDir: join(folder, name), env });
  running.push(toolyard);
  return toolyard;
}
async function stop(toolyard: RunningToolyard): Promise<void> {
  running.splice(running.indexOf(toolyard), 1);
  expect(await toolyard.stop()).toBe(0);
}
function copy(from: string, to: string): void {
  const { status, stderr } = spawnSync("cp", ["-a", join(folder, from), join(folder, to)], { encoding: "utf8" });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
}

/** A stdio server, and one that speaks HTTP on a port of its own. */
async function deployBoth(toolyard: RunningToolyard): Promise<void> {
  const admin = graphqlClient(toolyard.url, await logIn(toolyard.url, "admin", toolyard.adminPassword));
  const launches = {
    stdio: { stdio: { command: process.execPath, args: [sampleServerEntry(), "stdio"] } },
    web: { http: { command: process.execPath, args: [sampleServerEntry(), "streamableHttp"] } },
  };
  for (const [slug, launch] of Object.entries(launches)) {
    const { createTool } = await admin.query<{ createTool: { id: string } }>(
      "mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }",
      { input: { slug, name: slug, description: "folders", launch } },
    );
    await admin.query("mutation ($id: ID!) { deployTool(input: { toolId: $id }) { id } }", { id: createTool.id });
  }
  await serves(toolyard);
}

/** Both answer calls. */
async function serves(toolyard: RunningToolyard): Promise<void> {
  const token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  for (const [slug, era] of [
    ["stdio", "v2-stateless"],
    ["web", "v2-sessions"],
  ] as const)
    await eventually(`an answer of ${slug}`, async () => {
      const client = await connectMcp(era, `${toolyard.proxyUrl}/mcp/${slug}/v1/mcp`, token);
      try {
        return (await client.callTool("echo", { message: "there?" })).includes("there?");
      } finally {
        await client.close();
      }
    });
}

/** Main processes of the replicas that the folder's records tell of, and that run. */
async function replicasOf(name: string): Promise<number[]> {
  const root = join(folder, name, "replicas");
  const records = await Promise.all(
    (await readdir(root)).map(async (each) => JSON.parse(await readFile(join(root, each, "replica.json"), "utf8"))),
  );
  return records
    .filter(({ pid, ended }) => ended === null && areRunning([pid]))
    .map(({ pid }) => Number(pid))
    .toSorted((a, b) => a - b);
}
const table = createProcessTable();
const areRunning = (pids: number[]) => pids.length > 0 && table.find(pids).size === pids.length;

test("two installs side by side have nothing to do with each other, also when one is killed and starts again", async () => {
  const one = await start("one", { ...KEEP, HOST_ID: "the-same" });
  const two = await start("two", { HOST_ID: "the-same" });
  await deployBoth(one);
  await deployBoth(two);
  const ofOne = await replicasOf("one");
  expect(ofOne).toHaveLength(2);
  await two.kill();
  running.splice(running.indexOf(two), 1);
  const again = await start("two", { HOST_ID: "the-same" });
  await serves(again);
  await stop(again);
  expect(await replicasOf("one")).toEqual(ofOne);
  await serves(one);
});

test.skipIf(embeddedOnly("no database is copied with DATA_DIR"))(
  "a copy of a live DATA_DIR has replicas of its own, and neither takes the other's",
  async () => {
    const original = await start("original", KEEP);
    await deployBoth(original);
    const before = await replicasOf("original");
    copy("original", "copy");
    const copied = await start("copy", KEEP);
    await serves(copied);
    const ofCopy = await replicasOf("copy");
    expect(ofCopy).toHaveLength(2);
    expect(ofCopy.filter((pid) => before.includes(pid))).toEqual([]);
    expect(await replicasOf("original")).toEqual(before);
    await serves(original);

    // Each starts again beside the other's replicas, and has its own.
    await stop(original);
    await stop(copied);
    const originalAgain = await start("original");
    await serves(originalAgain);
    expect(await replicasOf("original")).toEqual(before);
    await stop(originalAgain);
    expect(areRunning(before)).toBe(false);
    expect(await replicasOf("copy")).toEqual(ofCopy);
    await serves(await start("copy"));
    expect(await replicasOf("copy")).toEqual(ofCopy);
  },
);

test("a DATA_DIR that was moved finds the replicas that kept running", async () => {
  const before = await start("before", KEEP);
  await deployBoth(before);
  const kept = await replicasOf("before");
  await stop(before);
  await rename(join(folder, "before"), join(folder, "after"));
  const { DATA_DIR: _moved, ...servers } = before.dataEnv;
  const after = await start("after", servers);
  await serves(after);
  expect(await replicasOf("after")).toEqual(kept);
  await stop(after);
  expect(areRunning(kept)).toBe(false);
});

test.skipIf(embeddedOnly("no database is copied with DATA_DIR"))(
  "a backup that takes the place of a DATA_DIR leaves the replicas of that one alone where it was put aside, and ends them where it is gone",
  async () => {
    const ports = { gateway: await freePort(), proxy: await freePort() };
    const old = await startToolyard({ dataDir: join(folder, "data"), env: KEEP, ports });
    running.push(old);
    await deployBoth(old);
    const ofOld = await replicasOf("data");
    await stop(old);
    copy("data", "backup");
    await rename(join(folder, "data"), join(folder, "aside"));
    copy("backup", "data");
    const restored = await start("data", KEEP);
    await serves(restored);
    const ofRestored = await replicasOf("data");
    expect(areRunning(ofOld)).toBe(true);
    await stop(restored);
    await rm(join(folder, "data"), { recursive: true });
    copy("backup", "data");
    const again = await start("data");
    await serves(again);
    expect(areRunning(ofRestored)).toBe(false);
    expect(areRunning(ofOld)).toBe(true);
    await serves(await start("aside"));
    expect(await replicasOf("aside")).toEqual(ofOld);
  },
);

test.skipIf(embeddedOnly("it changes SQLite's files"))(
  "an older Toolyard refuses what a newer one migrated, in words, and lets the replicas that run alone",
  async () => {
    const before = await start("data", KEEP);
    await deployBoth(before);
    const kept = await replicasOf("data");
    await stop(before);
    const file = join(folder, "data", "deployments.sqlite");
    const migrate = (statement: string) => {
      const database = new LibsqlDatabase(file);
      database.exec(statement);
      database.close();
    };
    migrate(`INSERT INTO "migrations" ("timestamp", "name") VALUES (9000, 'leases0000000009000')`);
    const refused = await startToolyard({ dataDir: join(folder, "data") }).catch(String);
    expect(refused).toContain("exit code 1");
    expect(refused).toMatch(/deployments\.sqlite .* newer Toolyard .*9000-leases.* than this one .*backup/);
    expect(refused).not.toMatch(/\n\s+at /);
    expect(await replicasOf("data")).toEqual(kept);
    expect(areRunning(kept)).toBe(true);
    migrate(`DELETE FROM "migrations" WHERE "timestamp" = 9000`);
    await serves(await start("data"));
    expect(await replicasOf("data")).toEqual(kept);
  },
);
