import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { graphqlClient, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import { Client } from "undici";
import { PROBE_DIR, type Observation } from "./probe.ts";

/** What something cost, all of it. */
export interface Cost {
  /** Of all processes. */
  cpuMs: number;
  wallMs: number;
  /** In the main process; the workers of documents have connections of their own. */
  statements: number;
  slowest: { sql: string; ms: number };
  /** The longest hold of an event loop, and whose it was. */
  hold: { ms: number; whose: "main" | "proxy" };
  /** That the proxy was sent. */
  proxyBytes: number;
}

/** Of USER_HZ, which Linux shows to programs whatever its kernel's is. */
const TICK_MS = 10;
/** Looks at the CPU that is used, and how many of them in a row must find less than this share of it. */
const QUIET_EVERY_MS = 250;
const QUIET_LOOKS = 4;
const QUIET_SHARE = 0.15;

/** A Toolyard that runs as its users start it, with a probe in its main process and in the proxy. */
export interface Program extends AsyncDisposable {
  toolyard: RunningToolyard;
  /** Of the administrator. */
  token: string;
  query: ReturnType<typeof graphqlClient>["query"];
  /** What starting it cost; it may hold the event loop. */
  start: Cost;
  /** Resolves once all processes together have hardly done anything for a moment. */
  quiet(): Promise<void>;
  /** Runs `work` and says what it cost. `watch: false` leaves the event loops unwatched, which itself takes some CPU. */
  measure(work: () => Promise<unknown>, options?: { watch?: boolean; housekeeping?: boolean }): Promise<Cost>;
}

/** On a folder that is kept. */
export async function startProgram(dataDir: string): Promise<Program> {
  await using starting = new AsyncDisposableStack();
  const probes = join(dataDir, "..", "probes");
  await rm(probes, { recursive: true, force: true });
  await mkdir(probes, { recursive: true });
  const from = performance.now();
  const toolyard = await startToolyard({
    dataDir,
    env: {
      NODE_OPTIONS: `--import ${pathToFileURL(join(import.meta.dirname, "probe.ts")).href}`,
      [PROBE_DIR]: probes,
      MCP_DEPLOYMENT_BACKEND: "mock",
      MCP_PORT_RANGE: "40000-49999",
      RATE_LIMIT_ENABLED: "false",
    },
  });
  starting.use(toolyard);
  const root = toolyard.process.pid ?? 0;
  const untilReady = { cpuMs: await cpuOf(root), wallMs: performance.now() - from };
  const token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  const clients = (await readdir(probes)).map((name) => new Client("http://probe", { socketPath: join(probes, name) }));
  starting.defer(async () => void (await Promise.all(clients.map((client) => client.close()))));
  const ask = async (path: string): Promise<Omit<Cost, "cpuMs" | "wallMs">> => {
    const observations = await Promise.all(
      clients.map(async (client) => {
        const { body } = await client.request({ path, method: "GET" });
        return (await body.json()) as Observation; // of the probe
      }),
    );
    const main = observations.find(({ entry }) => entry.endsWith("standalone.ts"));
    const proxy = observations.find(({ entry }) => !entry.endsWith("standalone.ts"));
    if (!main || !proxy) throw new Error("The main process and the proxy must both answer their probes.");
    const hold = Math.max(main.holdMs, proxy.holdMs);
    return {
      statements: main.statements,
      slowest: main.slowest,
      proxyBytes: proxy.bytesReceived,
      hold: { ms: hold, whose: hold === main.holdMs ? "main" : "proxy" },
    };
  };
  const start = { ...untilReady, ...(await ask("/")) };
  const started = starting.move();
  return {
    toolyard,
    token,
    query: graphqlClient(toolyard.url, token).query,
    start,
    async measure(work, { watch = true, housekeeping = false } = {}) {
      await ask(housekeeping ? "/housekeeping" : watch ? "/watch" : "/");
      const before = await cpuOf(root);
      const began = performance.now();
      await work();
      const wallMs = performance.now() - began;
      const cpuMs = (await cpuOf(root)) - before;
      return { cpuMs, wallMs, ...(await ask("/")) };
    },
    async quiet() {
      for (let before = -Infinity, calm = 0; calm < QUIET_LOOKS;) {
        const used = await cpuOf(root);
        calm = used - before < QUIET_SHARE * QUIET_EVERY_MS ? calm + 1 : 0;
        before = used;
        await delay(QUIET_EVERY_MS);
      }
    },
    [Symbol.asyncDispose]: () => started.disposeAsync(),
  };
}

/** CPU in ms of a process and all that descend from it, those that have ended too; proc(5): `stat` and `task/[tid]/schedstat`. */
async function cpuOf(root: number): Promise<number> {
  const children = new Map<number, number[]>();
  const ended = new Map<number, number>();
  for (const name of await readdir("/proc")) {
    const stat = /^\d+$/.test(name) ? await readFile(`/proc/${name}/stat`, "utf8").catch(() => "") : "";
    if (stat === "") continue;
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const parent = Number(fields[1]);
    children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
    ended.set(Number(name), (Number(fields[13]) + Number(fields[14])) * TICK_MS);
  }
  const descendants = (pid: number): number[] => [pid, ...(children.get(pid) ?? []).flatMap(descendants)];
  let ms = 0;
  for (const pid of descendants(root)) {
    ms += ended.get(pid) ?? 0;
    for (const task of await readdir(`/proc/${pid}/task`).catch(() => [])) {
      const schedule = await readFile(`/proc/${pid}/task/${task}/schedstat`, "utf8").catch(() => "0");
      ms += Number(schedule.split(" ")[0]) / 1_000_000;
    }
  }
  return ms;
}
