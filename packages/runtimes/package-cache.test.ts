import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { globSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, onTestFinished, test } from "vitest";
import { stopAll } from "./fixtures/stop-all.ts";
import { openProcessHarness, type ProcessHarness } from "./process-runtime.harness.ts";
import type { ProcessRuntimeOptions } from "./process/process-runtime.ts";
import type { ReplicaLaunch, ReplicaSpec } from "./runtime.ts";

/* Packages that replicas fetch: from where, and how often. */

let harness: ProcessHarness;
afterEach(async () => {
  await stopAll(harness.runtime, 0);
  await harness.runtime.close();
  await harness.close();
});

/** A registry of npm with the package of the fixtures, and the paths it was asked for. */
async function openRegistry() {
  const folder = await mkdtemp(join(tmpdir(), "toolyard-registry-"));
  const archive = join(folder, "package.tgz");
  execFileSync("tar", ["-czf", archive, "-C", join(import.meta.dirname, "fixtures"), "package"]);
  const content = readFileSync(archive);
  await rm(folder, { recursive: true });
  const integrity = `sha512-${createHash("sha512").update(content).digest("base64")}`;
  const asked: string[] = [];
  const server = createServer(({ url = "" }, response) => {
    asked.push(url);
    if (url.endsWith(".tgz")) return void response.end(content);
    const dist = { tarball: `${address}/prints-once.tgz`, integrity };
    const version = { name: "prints-once", version: "1.0.0", bin: { "prints-once": "prints-once.mjs" }, dist };
    const whole = { name: "prints-once", "dist-tags": { latest: "1.0.0" }, versions: { "1.0.0": version } };
    response.setHeader("content-type", "application/json").end(JSON.stringify(whole));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  onTestFinished(() => server.close().closeAllConnections());
  return { address, fetched: () => asked.filter((url) => url.endsWith(".tgz")).length };
}

/** Starts it by `npx`, as a replica that the deployment did not have before; ends it once it runs. */
async function runOnce(deploymentId: string, registry: string): Promise<void> {
  const spec = { ...(await harness.fixture(`of-${deploymentId}`, "")), deploymentId };
  const env = { npm_config_registry: registry, npm_config_update_notifier: "false" };
  // The fixtures' launches are all of kind "http".
  const launch = { ...spec.launch, command: "npx", args: ["-y", "prints-once"], env } as ReplicaLaunch;
  const handle = await harness.runtime.start({ ...spec, launch } as ReplicaSpec);
  const lines = async () => (await harness.runtime.logs(handle, 20)).map(({ text }) => text).join("\n");
  await expect.poll(lines, { interval: 50 }).toContain("runs from");
  await harness.runtime.stop(handle, 0);
  await harness.runtime.forget(handle);
}

const open = async (options: Partial<ProcessRuntimeOptions> = {}) =>
  (harness = await openProcessHarness({ isolation: "none", ...options }));
/** One for each deployment. */
const caches = () => globSync(join(harness.dataDir, "cache/users/*/*"));

test("a deployment that is started again fetches nothing again, and has nothing of what another's replicas fetched", async () => {
  const { address, fetched } = await openRegistry();
  await open();
  await runOnce("one", address);
  expect(fetched()).toBe(1);
  await runOnce("one", address);
  expect(fetched()).toBe(1);
  await runOnce("other", address);
  expect(fetched()).toBe(2);
  expect(caches()).toHaveLength(2);
});

test("the packages of a deployment that has not run for long are removed when another starts, empty caches a minute after it", async () => {
  let passed = 0;
  await open({ keepEndedMs: 300_000, now: () => Date.now() + passed });
  const start = async (deploymentId: string) =>
    harness.runtime.start({ ...(await harness.fixture(deploymentId, "http-server.mjs")), deploymentId });
  const stopped = await Promise.all([start("gone"), start("fetches-nothing")]);
  const [of = ""] = caches().filter((folder) =>
    folder.endsWith(createHash("sha256").update("gone").digest("hex").slice(0, 32)),
  );
  writeFileSync(join(of, "uv", "package"), "");
  await start("running");
  for (const handle of stopped) {
    await harness.runtime.stop(handle, 0);
    await harness.runtime.forget(handle);
  }
  await start("new");
  expect(caches()).toHaveLength(4);
  passed = 61_000;
  await start("newer");
  expect(caches()).toHaveLength(4);
  expect(caches()).toContain(of);
  // Of a process that was killed over removing the same.
  const [left = ""] = caches().map((folder) => `${folder}.removed`);
  mkdirSync(join(left, "npm"), { recursive: true });
  utimesSync(left, 0, 0);
  passed = 400_000;
  await start("newest");
  expect(caches().filter((folder) => folder !== left)).toHaveLength(4);
  expect(caches()).not.toContain(of);
  await harness.runtime.close();
  harness.runtime = await harness.successor();
  await harness.runtime.list();
  await expect.poll(caches).not.toContain(left);
});

test("the caches of a user who filled them are emptied before any replica of that user starts", async () => {
  let passed = 0;
  await open({ now: () => Date.now() + passed });
  const start = async (name: string, file = "http-server.mjs", args: string[] = []) =>
    harness.runtime.start(await harness.fixture(name, file, args));
  const first = await start("first");
  await harness.runtime.stop(first, 0);
  const [cache = ""] = caches();
  for (let number = 0; number < 2_000; number++) writeFileSync(join(cache, "uv", String(number)), "");
  // Folders so deep that they cannot be counted are too much, too.
  const digs = await start("digs", "digs-deep.mjs", [join(cache, "npm")]);
  await expect.poll(() => globSync(join(cache, "npm/closed"))).toHaveLength(1);
  passed = 120_000; // The disk is measured again.
  await expect.poll(async () => (await harness.runtime.inspect(digs)).alive, { timeout: 10_000 }).toBe(false);
  await harness.runtime.stop(digs, 0);
  const starts = [start("second"), start("third")];
  await Promise.race(starts);
  expect(globSync(join(harness.dataDir, "cache/users/*"))).toHaveLength(1);
  expect(readdirSync(join(cache, "uv"))).toEqual([]);
  await Promise.all(starts);
});
