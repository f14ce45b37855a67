import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import { join } from "node:path";
import { createLogger } from "@toolyard/service-kit/process/log.ts";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Isolation } from "./process/bubblewrap.ts";
import { openProcessHarness, whyNoBubblewrap, type ProcessHarness } from "./process-runtime.harness.ts";
import { createProcessRuntime } from "./process/process-runtime.ts";
import type { ReplicaHandle, ReplicaSpec, Runtime } from "./runtime.ts";
import { stopAll } from "./fixtures/stop-all.ts";

/** Whose a replica is: the folder's that it was started in, wherever that is now, and of no copy of it. */

const isolations: Isolation[] = (await whyNoBubblewrap()) === null ? ["none", "bubblewrap"] : ["none"];

describe.each(isolations)("isolation %s", (isolation) => {
  let harness: ProcessHarness;
  let spec: ReplicaSpec;
  let handle: ReplicaHandle;
  const opened: Runtime[] = [];
  const beside = (name: string) => `${harness.dataDir}-${name}`;
  const copy = (from: string, to: string) => expect(spawnSync("cp", ["-a", from, to]).status).toBe(0);

  beforeEach(async () => {
    harness = await openProcessHarness({ isolation });
    spec = await harness.fixture("kept", "http-server.mjs");
    handle = await harness.runtime.start(spec);
    await harness.ask(spec, "/");
  });
  afterEach(async () => {
    for (const runtime of opened.splice(0)) {
      await stopAll(runtime, 0);
      await runtime.close();
    }
    await harness.killFromOutside(handle).catch(() => undefined); // gone, as some tests want it
    for (const name of ["copy", "moved", "link"]) rmSync(beside(name), { recursive: true, force: true });
    await harness.close();
  });

  async function open(dataDir: string): Promise<Runtime> {
    const log = createLogger({ level: "error", name: "runtime" });
    const runtime = createProcessRuntime({ dataDir, isolation, hostEnv: process.env, log, pollIntervalMs: 50 });
    opened.push(runtime);
    return runtime;
  }
  const listed = async (runtime: Runtime) => (await runtime.list()).map((each) => each.handle.identity["pid"]);
  const pid = () => handle.identity["pid"];
  const answers = () => harness.ask(spec, "/");
  const isRunning = async () => (await harness.processes(spec)).length > 0;

  test("a copy of a folder in use has none of its replicas: it neither lists nor stops them, and keeps their logs", async () => {
    copy(harness.dataDir, beside("copy"));
    const other = await open(beside("copy"));
    expect(await other.list()).toEqual([]);
    expect(await other.recognize(handle)).toBe(null);
    expect(await other.inspect(handle)).toMatchObject({ alive: false });
    expect((await other.logs(handle, 10)).length).toBeGreaterThan(0);
    await other.stop(handle, 0);
    await other.forget(handle);
    await answers();
    expect(await listed(harness.runtime)).toEqual([pid()]);
    // For the end of the test to stop it, with all that its sandbox holds.
    opened.push(harness.runtime);
  });

  test("what a copy started is not the original's to end, and what it has of its own it finds again", async () => {
    copy(harness.dataDir, beside("copy"));
    const second = await (await open(beside("copy"))).start(await harness.fixture("kept", "http-server.mjs"));
    await harness.runtime.close();
    const original = await harness.successor();
    opened.push(original);
    expect(await listed(original)).toEqual([pid()]);
    await original.stop(second, 0);
    expect(await listed(await open(beside("copy")))).toEqual([second.identity["pid"]]);
    await answers();
  });

  test("a folder that was moved has its replicas still, at their new place, also when it is reached by a link", async () => {
    const bridge = await harness.fixture("speaks", "http-server.mjs");
    const launch = { ...bridge.launch, kind: "stdio", sessions: "SHARED", timeoutSeconds: 5, startTimeoutSeconds: 5 };
    const unlimited = { maxSessions: null, idleSeconds: null, maxMessageBytes: null };
    // The fixture's launch is of kind "http"; the bridge starts its command with the first session only.
    const stdio = { ...bridge, port: null, launch: { ...launch, ...unlimited } } as ReplicaSpec;
    const before = await harness.runtime.start(stdio);
    // A sandbox that is still being made is made of the folders' old names.
    await once(get({ socketPath: join(harness.dataDir, "replicas/speaks/bridge.sock") }), "response");
    await harness.runtime.close();
    renameSync(harness.dataDir, beside("moved"));
    symlinkSync(beside("moved"), beside("link"));
    const moved = await open(beside("link"));
    expect(new Set(await listed(moved))).toEqual(new Set([pid(), before.identity["pid"]]));
    const now = await moved.recognize(before);
    expect(now?.identity).toEqual(before.identity);
    expect(now?.endpoint.url).toBe(`unix:${join(beside("moved"), "replicas/speaks/bridge.sock")}`);
    await answers();
    await moved.stop(handle, 1_000);
    expect(await isRunning()).toBe(false);
    // Reached, not only known.
    await once(get({ socketPath: join(beside("moved"), "replicas/speaks/bridge.sock") }), "response");
  });

  test("a folder that was moved to another file system ends what ran in the one that is gone", async () => {
    await harness.runtime.close();
    copy(harness.dataDir, beside("copy"));
    rmSync(harness.dataDir, { recursive: true });
    const moved = await open(beside("copy"));
    expect(await moved.list()).toEqual([]);
    expect(await isRunning()).toBe(false);
  });

  test("a backup in the place of a folder that was removed ends what ran in that, also what the backup does not know of", async () => {
    await harness.runtime.close();
    copy(harness.dataDir, beside("copy"));
    rmSync(join(beside("copy"), "replicas"), { recursive: true });
    rmSync(join(beside("copy"), "owner"));
    rmSync(harness.dataDir, { recursive: true });
    copy(beside("copy"), harness.dataDir);
    const restored = await open(harness.dataDir);
    expect(await restored.list()).toEqual([]);
    expect(await isRunning()).toBe(false);
  });

  test("a backup in the place of a folder that was put aside leaves what runs in that alone", async () => {
    await harness.runtime.close();
    copy(harness.dataDir, beside("copy"));
    renameSync(harness.dataDir, beside("moved"));
    copy(beside("copy"), harness.dataDir);
    const restored = await open(harness.dataDir);
    expect(await restored.list()).toEqual([]);
    await restored.stop(handle, 0);
    await answers();
    expect(await listed(await open(beside("moved")))).toEqual([pid()]);
  });

  test.runIf(existsSync("/proc/self/fd"))(
    "a folder of an earlier version has its replicas still, a copy of it has not",
    async () => {
      await harness.runtime.close();
      const record = join(harness.dataDir, "replicas/kept/replica.json");
      const { ownerId } = JSON.parse(readFileSync(record, "utf8"));
      const { owner, ...identity } = handle.identity;
      expect(owner).toBe(ownerId);
      rmSync(join(harness.dataDir, "owner"));
      copy(harness.dataDir, beside("copy"));
      expect(await (await open(beside("copy"))).list()).toEqual([]);
      expect(await (await open(beside("copy"))).recognize({ ...handle, identity })).toBe(null);
      const upgraded = await open(harness.dataDir);
      expect(await listed(upgraded)).toEqual([pid()]);
      expect(await upgraded.recognize({ ...handle, identity })).toEqual(handle);
    },
  );

  test("a claim that cannot be read is made anew", async () => {
    await harness.runtime.close();
    writeFileSync(join(harness.dataDir, "owner"), "");
    await open(harness.dataDir);
    expect(JSON.parse(readFileSync(join(harness.dataDir, "owner"), "utf8"))).toMatchObject({
      ownerId: handle.identity["owner"],
    });
  });
});
