import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, statSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { createCgroups, noCgroups } from "./process/cgroups.ts";
import { ROTATE_AT_BYTES } from "./process/log-file.ts";
import { claimFolder } from "./process/ownership.ts";
import { createProcessTable } from "./process/process-table.ts";
import { diskUse } from "./process/disk-use.ts";
import { openProcessHarness, whyNoBubblewrap } from "./process-runtime.harness.ts";
import type { ProcessHarness } from "./process-runtime.harness.ts";
import type { Isolation } from "./process/bubblewrap.ts";
import type { ReplicaHandle, ReplicaLaunch } from "./runtime.ts";
import { stopAll } from "./fixtures/stop-all.ts";

/** What belongs to a replica is known by what the kernel says, not by what a process says of itself. */

const MIB = 1024 * 1024;
const SLEEPER = ["-e", "setInterval(() => {}, 1000)"];

const isolations: Isolation[] = (await whyNoBubblewrap()) === null ? ["none", "bubblewrap"] : ["none"];
const hasCgroups = ((): boolean => {
  const cgroups = createCgroups({ ownerId: `probe-${process.pid}` });
  const folders = cgroups.create("probe", { cpus: null, memoryMb: 64, processes: 16, diskMb: 1 });
  cgroups.remove(folders);
  return folders.length > 0;
})();

const { limitsCpus } = createCgroups({ ownerId: `probe-${process.pid}` });

let harness: ProcessHarness;
afterEach(async () => {
  await stopAll(harness.runtime, 0);
  await harness.runtime.close();
  await harness.close();
});

function commandLines(): string[] {
  return spawnSync("ps", ["-A", "-ww", "-o", "command="], { encoding: "utf8" }).stdout.split("\n");
}
const running = (unique: string): string[] => commandLines().filter((line) => line.includes(unique));

describe.each(isolations)("isolation %s", (isolation) => {
  // Where there is neither a control group nor a sandbox, what left parent, session and group at once is nobody's.
  describe.skipIf(isolation === "none" && !hasCgroups)(
    "a daemon that forked twice, with nothing in its environment",
    () => {
      async function startDaemon() {
        harness = await openProcessHarness({ isolation });
        const unique = `daemon-${crypto.randomUUID()}`;
        const handle = await harness.runtime.start(await harness.fixture("forks", "daemonizes.mjs", [unique]));
        const lines = async () => (await harness.runtime.logs(handle, 5)).map(({ text }) => text);
        await expect.poll(lines).toEqual(["daemonized"]);
        const isDaemon = () => running(unique).some((line) => line.includes("ignores-sigterm.mjs"));
        await expect.poll(isDaemon).toBe(true);
        return { unique, handle };
      }

      test("ends with a stop of its replica", async () => {
        const { unique, handle } = await startDaemon();
        await harness.runtime.stop(handle, 100);
        expect(running(unique)).toEqual([]);
      });

      test("ends when its replica's main process was killed", async () => {
        const { unique, handle } = await startDaemon();
        await harness.killFromOutside(handle);
        await expect.poll(() => running(unique)).toEqual([]);
      });

      test("ends by the next control plane, which finds the replica dead", async () => {
        const { unique, handle } = await startDaemon();
        await harness.runtime.close();
        await harness.killFromOutside(handle);
        harness.runtime = await harness.successor();
        expect(await harness.runtime.list()).toEqual([]);
        await expect.poll(() => running(unique)).toEqual([]);
      });
    },
  );

  test("a process that says it is of a replica is not: it is neither killed with it nor taken for one", async () => {
    harness = await openProcessHarness({ isolation });
    const spec = await harness.fixture("claimed", "http-server.mjs");
    const handle = await harness.runtime.start(spec);
    await harness.ask(spec, "/");
    const claims = (name: string) => ({
      TOOLYARD_OWNER: claimFolder(harness.dataDir),
      TOOLYARD_REPLICA: spec.replicaId,
      TOOLYARD_DEPLOYMENT: spec.deploymentId,
      TOOLYARD_REPLICA_NAME: name,
      PORT: String(spec.port),
    });
    const strangers = ["claimed", "invented"].map((name) =>
      spawn(process.execPath, SLEEPER, { detached: true, stdio: "ignore", env: claims(name) }),
    );
    try {
      await harness.runtime.close();
      harness.runtime = await harness.successor();
      expect((await harness.runtime.list()).map(({ handle: { name } }) => name)).toEqual(["claimed"]);
      await harness.runtime.stop(handle, 100);
      await harness.runtime.forget(handle);
      expect(await harness.runtime.list()).toEqual([]);
      expect(strangers.map(({ exitCode, signalCode }) => exitCode ?? signalCode)).toEqual([null, null]);
    } finally {
      for (const stranger of strangers) stranger.kill("SIGKILL");
      await Promise.all(strangers.map(async (stranger) => stranger.signalCode ?? (await once(stranger, "exit"))));
    }
  });
});

describe.skipIf(!hasCgroups)("control groups", () => {
  const groups = () => createCgroups({ ownerId: claimFolder(harness.dataDir) }).names();

  test("are gone once their replicas are", async () => {
    harness = await openProcessHarness({ isolation: "none" });
    const handle = await harness.runtime.start(await harness.fixture("grouped", "http-server.mjs"));
    expect(groups()).toEqual(["grouped"]);
    await harness.runtime.stop(handle, 1_000);
    expect(groups()).toEqual([]);
  });

  test("of replicas whose folders were lost are emptied by the next control plane", async () => {
    harness = await openProcessHarness({ isolation: "none" });
    const spec = await harness.fixture("lost", "http-server.mjs");
    await harness.runtime.start(spec);
    await harness.runtime.close();
    spawnSync("rm", ["-r", join(harness.dataDir, "replicas")]);
    expect(existsSync(join(harness.dataDir, "replicas"))).toBe(false);
    harness.runtime = await harness.successor();
    expect(await harness.runtime.list()).toEqual([]);
    expect(groups()).toEqual([]);
    expect(await harness.remains(spec)).toEqual([]);
  });

  test("limit the processes of a replica", async () => {
    harness = await openProcessHarness({ isolation: "none" });
    const spec = await harness.fixture("bomb", "forks-many.mjs", ["60"]);
    const handle = await harness.runtime.start({ ...spec, resources: { ...spec.resources, processes: 40 } });
    const lines = async () => (await harness.runtime.logs(handle, 5)).map(({ text }) => text);
    await expect.poll(lines).toContainEqual(expect.stringMatching(/^refused [1-9]\d*$/));
    expect((await harness.processes(spec)).length).toBeLessThan(40);
  });
});

test.skipIf(!hasCgroups)(
  "a service to which systemd gave its group has the groups of replicas beside its own, not below",
  async () => {
    harness = await openProcessHarness({ isolation: "none" });
    const cgroups = createCgroups({ ownerId: claimFolder(harness.dataDir) });
    const [made = ""] = cgroups.create("probe", { cpus: null, memoryMb: 64, processes: 16, diskMb: 1 });
    const service = join(dirname(made), `toolyard-probe-${process.pid}.service`);
    mkdirSync(join(service, "main"), { recursive: true });
    try {
      const script = 'echo $$ > "$0/main/cgroup.procs" && exec "$1" "$2"';
      const fixture = join(import.meta.dirname, "fixtures/prints-groups.ts");
      const { stdout, stderr } = spawnSync("sh", ["-c", script, service, process.execPath, fixture], {
        encoding: "utf8",
      });
      expect(stderr).toBe("");
      expect(JSON.parse(stdout)).toContain(join(service, "toolyard-fixture-some"));
      expect(readdirSync(service)).not.toContain("toolyard-fixture-some");
    } finally {
      for (const folder of [join(service, "main"), service]) rmdirSync(folder);
      cgroups.remove([made]);
    }
  },
);

test.skipIf(!limitsCpus)("a replica has the CPUs that its launch names, and no more", async () => {
  harness = await openProcessHarness({ isolation: "none" });
  expect(harness.runtime.capabilities.isolation?.detail).not.toContain("CPUs");
  const spec = await harness.fixture("busy", "");
  const launch = { ...spec.launch, command: process.execPath, args: ["-e", "for(;;);"] } as ReplicaLaunch;
  await harness.runtime.start({ ...spec, launch, resources: { ...spec.resources, cpus: 0.1 } });
  const groups = createCgroups({ ownerId: claimFolder(harness.dataDir) }).find(spec.name);
  const held = () =>
    groups
      .map((folder) => join(folder, "cpu.stat"))
      .some((file) => existsSync(file) && /^nr_throttled [1-9]/m.test(readFileSync(file, "utf8")));
  await expect.poll(held, { timeout: 10_000 }).toBe(true);
});

test("where the kernel limits no CPUs the runtime says so", async () => {
  harness = await openProcessHarness({ isolation: "none", cgroups: noCgroups });
  expect(harness.runtime.capabilities.isolation?.detail).toMatch(/limit of CPUs is not kept/);
});

const hasPython = spawnSync("python3", ["--version"]).status === 0;

describe.runIf(hasCgroups && hasPython && isolations.includes("bubblewrap"))("limits of control groups", () => {
  /** Of the groups of version 1 and 2 that a process is in, with all above; the smallest of each kind. */
  function limitsOf(pid: number): { processes: number; memory: number } {
    const groups = readFileSync(`/proc/${pid}/cgroup`, "utf8").trim().split("\n");
    const files = readFileSync("/proc/self/mountinfo", "utf8")
      .split("\n")
      .map((line) => line.split(" "))
      .flatMap(([, , , root = "", mount = ""]) =>
        groups.map((group) => join(mount, relative(root, group.split(":")[2] ?? ""))),
      )
      .flatMap((folder) => [folder, dirname(folder)]);
    const smallest = (...names: string[]) =>
      Math.min(
        ...files
          .flatMap((folder) => names.map((name) => join(folder, name)))
          .filter((file) => existsSync(file))
          .map((file) => Number(readFileSync(file, "utf8").replace("max", "Infinity"))),
      );
    return { processes: smallest("pids.max"), memory: smallest("memory.max", "memory.limit_in_bytes") };
  }

  test("hold a replica that makes itself root of its group, and hides its processes there; it ends as any other", async () => {
    harness = await openProcessHarness({ isolation: "bubblewrap" });
    const spec = await harness.fixture("lifts", "");
    const command = { command: "python3", args: [join(import.meta.dirname, "fixtures/lifts-limits.py")] };
    const launch = { ...spec.launch, ...command } as ReplicaLaunch;
    const resources = { ...spec.resources, processes: 40, memoryMb: 256 };
    const handle = await harness.runtime.start({ ...spec, launch, resources });
    const lines = async () => (await harness.runtime.logs(handle, 5)).map(({ text }) => text);
    await expect.poll(lines).toContainEqual(expect.stringMatching(/tried|no namespaces/));
    for (const pid of await harness.processes(spec)) {
      const { processes, memory } = limitsOf(pid);
      expect(processes).toBe(40);
      expect(memory).toBeLessThanOrEqual(384 * MIB);
    }
    const [unified = ""] = createCgroups({ ownerId: claimFolder(harness.dataDir) }).find(spec.name);
    const below = readdirSync(unified, { recursive: true, withFileTypes: true }).filter((entry) => entry.isDirectory());
    expect(below.length).toBeLessThan(100);
    await harness.runtime.stop(handle, 100);
    expect(await harness.remains(spec)).toEqual(["folder lifts"]);
    expect(existsSync(unified)).toBe(false);
  });
});

describe("what a replica uses", () => {
  const ended = async (handle: ReplicaHandle) => {
    await expect.poll(() => harness.runtime.inspect(handle).then(({ alive }) => alive)).toBe(false);
    return harness.runtime.inspect(handle);
  };

  test("is bounded in processes where the kernel does not count them, too", async () => {
    harness = await openProcessHarness({ isolation: "none", cgroups: noCgroups });
    const spec = await harness.fixture("bomb", "forks-many.mjs", ["60"]);
    const handle = await harness.runtime.start({ ...spec, resources: { ...spec.resources, processes: 40 } });
    expect(await ended(handle)).toMatchObject({
      why: expect.stringMatching(/^It had \d+ processes, where 40 are allowed/),
    });
    expect(await harness.processes(spec)).toEqual([]);
  });

  const takesMemory = async (way: string, mib: number, memoryMb: number) => {
    harness = await openProcessHarness({ isolation: "none", cgroups: noCgroups });
    const spec = await harness.fixture("greedy", "");
    const args = [join(import.meta.dirname, "fixtures/takes-memory.py"), way, String(mib)];
    const launch = { ...spec.launch, command: "python3", args } as ReplicaLaunch;
    return harness.runtime.start({ ...spec, launch, resources: { ...spec.resources, memoryMb } });
  };
  const onLinux = hasPython && process.platform === "linux";

  test.runIf(onLinux).each([["shared"], ["file"]])(
    "is bounded in memory that is no process's own: %s",
    async (way) => {
      const handle = await takesMemory(way, 200, 128);
      expect(await ended(handle)).toMatchObject({
        why: expect.stringMatching(/^It used \d+ MiB of memory, where 128 MiB are/),
      });
    },
    60_000,
  );

  test.runIf(onLinux)(
    "is counted once where processes share it",
    async () => {
      const handle = await takesMemory("shared-by-many", 100, 512);
      const taken = async () => (await harness.runtime.logs(handle, 20)).filter(({ text }) => text === "taken").length;
      await expect.poll(taken).toBe(8);
      const pids = (await createProcessTable().scan())
        .filter(({ sessionId }) => sessionId === Number(handle.identity["pid"]))
        .map(({ pid }) => pid);
      expect(pids.length).toBeGreaterThanOrEqual(8);
      const bytes = createProcessTable().memoryOf(pids) ?? 0;
      expect(bytes).toBeGreaterThan(100 * MIB);
      expect(bytes).toBeLessThan(400 * MIB);
    },
    60_000,
  );

  test.each([
    ["one file", (folder: string) => [folder, "1", String(48 * MIB)]],
    ["many files", (folder: string) => [folder, "20000", "1"]],
    ["files that no folder has any more", (folder: string) => [folder, "5", String(24 * MIB)], "unlinks-files.mjs"],
  ])(
    "is bounded on the disk, by %s",
    async (_what, args, file = "fills-disk.mjs") => {
      harness = await openProcessHarness({ isolation: "none" });
      const folder = join(harness.dataDir, "replicas/greedy/work");
      const spec = await harness.fixture("greedy", file, args(folder));
      const handle = await harness.runtime.start({ ...spec, resources: { ...spec.resources, diskMb: 32 } });
      await ended(handle);
      // A single file is stopped by the kernel at that size.
      const log = (await harness.runtime.logs(handle, 50)).map(({ text }) => text).join("\n");
      expect(log).toMatch(/filled its 32 MiB|EFBIG/);
    },
    60_000,
  );

  test("is removed with it, however deep and closed the folders are that it made", async () => {
    harness = await openProcessHarness({ isolation: "none" });
    const folder = join(harness.dataDir, "replicas/digs/work");
    const spec = await harness.fixture("digs", "digs-deep.mjs", [folder]);
    const handle = await harness.runtime.start(spec);
    const log = async () => (await harness.runtime.logs(handle, 5)).map(({ text }) => text).join("\n");
    // It may be ended for folders that nobody can measure before it says that it has dug.
    await expect.poll(log).toMatch(/dug|cannot be counted/);
    expect(await diskUse([folder], 1024 * MIB)).toBe(Infinity);
    await harness.runtime.stop(handle, 100);
    await harness.runtime.forget(handle);
    expect(await harness.remains(spec)).toEqual([]);
  });

  test("is bounded in output: one that prints as fast as it can is ended, and its log stays small", async () => {
    harness = await openProcessHarness({ isolation: "none" });
    const spec = await harness.fixture("floods", "");
    const launch = { ...spec.launch, command: "sh", args: ["-c", "yes >&2"] } as ReplicaLaunch;
    const handle = await harness.runtime.start({ ...spec, launch });
    expect(await ended(handle)).toMatchObject({ why: expect.stringMatching(/^It printed \d+ MiB within a second/) });
    const folder = join(harness.dataDir, "replicas/floods");
    const bytes = () => readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
    expect(bytes()).toBeLessThan(64 * MIB + 3 * ROTATE_AT_BYTES);
  });
});
