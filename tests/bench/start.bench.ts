/**
 * CPU time from the start of an installed Toolyard to /health = healthy: all its processes together, the first start on an empty
 * DATA_DIR (keys, administrator, sample) and the next ones. Beside it: a bare Node process.
 */
import { spawn, spawnSync } from "node:child_process";
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { freePort, portBlock } from "@toolyard/testing";

const root = join(import.meta.dirname, "..", "..");
const TICKS_PER_SECOND = 100; // USER_HZ, which Linux shows to programs whatever its kernel's is

/** Seconds of CPU that a process and its ended children have used (proc(5): utime, stime, cutime, cstime). */
async function cpuSeconds(pid: string): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return stat === "" ? 0 : fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / TICKS_PER_SECOND;
}

async function processesOf(dataDir: string): Promise<string[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const environments = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/environ`, "utf8").catch(() => "")));
  return pids.filter((_pid, index) => environments[index]?.includes(dataDir));
}

async function measureStart(dataDir: string): Promise<{ cpu: number; wall: number }> {
  const [port, replicas] = [await freePort(), await portBlock()];
  const started = performance.now();
  const child = spawn(process.execPath, [join(root, "standalone.ts")], {
    cwd: root,
    env: {
      ...process.env,
      DATA_DIR: dataDir,
      PORT: String(port),
      PROXY_PORT: String(await freePort()),
      MCP_PORT_RANGE: `${replicas.first}-${replicas.last}`,
      LOG_LEVEL: "warn",
    },
    stdio: "ignore",
  });
  const ended = new Promise((done) => child.once("exit", done));
  try {
    for (;;) {
      const report: unknown = await fetch(`http://127.0.0.1:${port}/health`).then(
        (answer) => answer.json(),
        () => null, // not listening yet
      );
      if (report instanceof Object && "status" in report && report.status === "healthy") break;
      if (performance.now() - started > 60_000) throw new Error("Toolyard did not get healthy within 60 s");
      await delay(20);
    }
    const wall = (performance.now() - started) / 1000;
    const each = await Promise.all((await processesOf(dataDir)).map(cpuSeconds));
    return { cpu: each.reduce((sum, seconds) => sum + seconds, 0), wall };
  } finally {
    child.kill("SIGTERM");
    await ended;
  }
}

const bareStarted = performance.now();
spawnSync(process.execPath, ["-e", "0"]);
const bare = (performance.now() - bareStarted) / 1000;

const dataDir = await mkdtemp(join(tmpdir(), "toolyard-bench-"));
try {
  const runs: { cpu: number; wall: number }[] = [];
  for (let run = 0; run < 4; run++) runs.push(await measureStart(dataDir));
  runs.forEach(({ cpu, wall }, index) => {
    const name = index === 0 ? "start on an empty DATA_DIR" : "start";
    console.log(
      `${name.padEnd(28)} ${cpu.toFixed(2)} s CPU, ${wall.toFixed(2)} s wall to healthy (bare Node: ${bare.toFixed(2)} s; reach ≤ 3 s CPU)`,
    );
  });
} finally {
  await rm(dataDir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
}
