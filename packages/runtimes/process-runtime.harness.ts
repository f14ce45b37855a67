import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogger } from "@toolyard/service-kit/process/log.ts";
import { freePort } from "@toolyard/testing/ports.ts";
import { expect } from "vitest";
import { isPortFree } from "./port-probe.ts";
import { createCgroups } from "./process/cgroups.ts";
import { createProcessRuntime } from "./process/process-runtime.ts";
import type { ProcessRuntimeOptions } from "./process/process-runtime.ts";
import { createProcessTable } from "./process/process-table.ts";
import type { Behaviour, RuntimeHarness } from "./runtime.contract.ts";
import type { ReplicaSpec, Runtime } from "./runtime.ts";

const FIXTURES = join(import.meta.dirname, "fixtures");
const FIXTURE_OF: Record<Behaviour, string> = {
  SERVES: "http-server.mjs",
  IGNORES_SIGTERM: "ignores-sigterm.mjs",
  EXITS_AT_ONCE: "exits-at-once.mjs",
  CANNOT_RUN: "",
};

export interface ProcessHarness extends RuntimeHarness {
  dataDir: string;
  /** A launch of a fixture by name. */
  fixture(name: string, file: string, args?: string[]): Promise<ReplicaSpec>;
  /** The answer of the fixture `http-server.mjs`, once it answers. */
  ask(spec: ReplicaSpec, question: string): Promise<unknown>;
  /** Pids of the replica's processes. */
  processes(spec: ReplicaSpec): Promise<number[]>;
}

/** The process runtime with a DATA_DIR of its own. Replicas get this process's environment as their host's. */
export async function openProcessHarness(options: Partial<ProcessRuntimeOptions> = {}): Promise<ProcessHarness> {
  const dataDir = await mkdtemp(join(tmpdir(), "toolyard-runtime-"));
  const table = createProcessTable();
  const open = () =>
    createProcessRuntime({
      dataDir,
      hostEnv: process.env,
      log: createLogger({ level: "error", name: "runtime" }),
      pollIntervalMs: 50,
      ...options,
    });

  const processes = async (spec: ReplicaSpec): Promise<number[]> => {
    // Every child inherits its replica's port, of which no other test's replica has the same.
    const all = await table.scan();
    return all.map(({ pid }) => pid).filter((pid) => environmentOf(pid).split(/[\0 ]/).includes(`PORT=${spec.port}`));
  };
  const ask = async (spec: ReplicaSpec, question: string): Promise<unknown> => {
    let answer: unknown;
    const deadline = { timeout: 10_000, interval: 20 };
    await expect
      .poll(async () => {
        const response = await fetch(`http://${spec.host}:${spec.port}${question}`).catch(() => null);
        answer = await response?.json();
        return response?.ok;
      }, deadline)
      .toBe(true);
    return answer;
  };
  const fixture = async (name: string, file: string, args: string[] = []): Promise<ReplicaSpec> => ({
    replicaId: `${name}-${crypto.randomUUID()}`,
    deploymentId: "some-deployment",
    userId: "some-user",
    name,
    launch: {
      kind: "http",
      command: file === "" ? "no-such-command-anywhere" : process.execPath,
      args: file === "" ? args : [join(FIXTURES, file), ...args],
      env: {},
      workingDirectory: null,
      writablePaths: [],
    },
    host: "127.0.0.1",
    port: await freePort(),
    token: "a-secret-token",
    secrets: [],
    resources: { cpus: null, memoryMb: null, processes: null, diskMb: null },
  });

  let runtime: Runtime;
  try {
    runtime = open();
  } catch (error) {
    await rm(dataDir, { recursive: true });
    throw error;
  }
  return {
    runtime,
    dataDir,
    spec: (name, behaviour) => fixture(name, FIXTURE_OF[behaviour]),
    fixture,
    ask,
    processes,
    successor: async () => open(),
    async killFromOutside(handle) {
      const pid = Number(handle.identity["pid"]);
      process.kill(pid, "SIGKILL");
      // The signal is only asked for so far.
      await expect.poll(() => table.find([pid]).size).toBe(0);
    },
    async print(spec, text) {
      await ask(spec, `/print?of=${encodeURIComponent(text)}`);
    },
    async remains(spec) {
      const remains = (await processes(spec)).map((pid) => `process ${pid}`);
      if (existsSync(join(dataDir, "replicas", spec.name))) remains.push(`folder ${spec.name}`);
      if (spec.port !== null && !(await isPortFree(spec.host, spec.port))) remains.push(`port ${spec.port}`);
      return remains;
    },
    close: () => rm(dataDir, { recursive: true, force: true }),
  };
}

/** The environment that a process was started with; "" when it is gone. */
function environmentOf(pid: number): string {
  if (process.platform !== "linux") {
    return spawnSync("ps", ["-E", "-ww", "-p", String(pid), "-o", "command="], { encoding: "utf8" }).stdout;
  }
  try {
    return readFileSync(`/proc/${pid}/environ`, "utf8");
  } catch {
    // It ended, or is somebody else's.
    return "";
  }
}

/** Whether the kernel of this host bounds the memory of a replica. */
export function memoryIsLimited(): boolean {
  const cgroups = createCgroups({ ownerId: `probe-${process.pid}` });
  const folders = cgroups.create("memory", { cpus: null, memoryMb: 64, processes: 1, diskMb: 1 });
  const isLimited = folders.some((folder) =>
    ["memory.max", "memory.limit_in_bytes"].some((file) => existsSync(join(folder, file))),
  );
  cgroups.remove(folders);
  return isLimited;
}

/** Why there is no bubblewrap here, or null. */
export async function whyNoBubblewrap(): Promise<string | null> {
  const harness = await openProcessHarness({ isolation: "auto" });
  try {
    const { isolation } = harness.runtime.capabilities;
    return isolation?.isolated ? null : (isolation?.detail ?? "");
  } finally {
    await harness.runtime.close();
    await harness.close();
  }
}
