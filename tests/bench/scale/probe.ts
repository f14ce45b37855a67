/**
 * Loaded into the main process and the proxy before their own code (`node --import …/probe.ts`): answers on a Unix socket what they
 * did. It counts SQL statements and bytes from other processes, and says how long the event loop was held.
 */
import childProcess, { type SpawnOptions } from "node:child_process";
import { subscribe } from "node:diagnostics_channel";
import { openSync, readSync } from "node:fs";
import { createServer } from "node:http";
import { syncBuiltinESMExports } from "node:module";
import type { Socket } from "node:net";
import { join } from "node:path";

/** What a process did since it was asked last. */
export interface Observation {
  /** The file that it runs. */
  entry: string;
  statements: number;
  /** The statement that held the event loop longest. */
  slowest: { sql: string; ms: number };
  /** The longest time in which the event loop came round to no timer, computing or waiting for a disk. */
  holdMs: number;
  /** On connections that it made. */
  bytesReceived: number;
}

/** Names the folder for the sockets, each named by its process' id. */
export const PROBE_DIR = "TOOLYARD_PROBE_DIR";
const TICK_MS = 1;

const nothing = { statements: 0, slowest: { sql: "", ms: 0 }, holdMs: 0, bytesReceived: 0 };
let seen = structuredClone(nothing);
let scheduleFile: number | undefined;

const folder = process.env[PROBE_DIR];
const entry = process.argv[1] ?? "";
// NODE_OPTIONS reach other processes, too.
if (folder !== undefined && /standalone\.ts$|proxy\/start\.mjs$/.test(entry)) {
  await countStatements();
  probeProxy(folder);
  countBytes();
  listen(folder, await collectHousekeeping());
}

async function countStatements(): Promise<void> {
  const { default: Database } = await import("libsql");
  const { prepare } = Database.prototype;
  // Its type has parameters that only a cast can give back.
  Database.prototype.prepare = function (this: InstanceType<typeof Database>, sql: string) {
    const statement = prepare.call(this, sql);
    const methods: Record<string, (...parameters: unknown[]) => unknown> = statement as never; // as far as they are needed here
    for (const name of ["run", "get", "all"]) {
      const execute = methods[name]?.bind(statement);
      methods[name] = (...parameters) => {
        seen.statements += 1;
        const from = performance.now();
        try {
          return execute?.(...parameters);
        } finally {
          const ms = performance.now() - from;
          if (ms > seen.slowest.ms) seen.slowest = { sql, ms };
        }
      };
    }
    return statement;
  } as typeof prepare;
}

/** It is started with an environment of its own. */
function probeProxy(probes: string): void {
  const { spawn } = childProcess;
  childProcess.spawn = ((command: string, args: readonly string[], options: SpawnOptions) => {
    const isProxy = args.some((arg) => arg.endsWith("proxy/start.mjs"));
    const own = { NODE_OPTIONS: process.env["NODE_OPTIONS"], [PROBE_DIR]: probes };
    return spawn(command, args, isProxy ? { ...options, env: { ...options.env, ...own } } : options);
  }) as typeof spawn;
  syncBuiltinESMExports();
}

function countBytes(): void {
  subscribe("net.client.socket", (message) => {
    const { socket } = message as { socket: Socket }; // as Node's documentation of the channel says
    socket.on("data", (chunk: Buffer) => (seen.bytesReceived += chunk.length));
  });
}

/** Scheduled jobs, which the request `/housekeeping` runs at once: without the random delay that spreads processes. */
async function collectHousekeeping(): Promise<(() => void)[]> {
  const collected: (() => void)[] = [];
  const { Cron } = await import("croner");
  const { schedule } = Cron.prototype;
  Cron.prototype.schedule = function (this: InstanceType<typeof Cron>, ...args) {
    collected.push(() => {
      const { random } = Math;
      Math.random = () => 0;
      void this.trigger();
      Math.random = random;
    });
    return schedule.apply(this, args);
  };
  return collected;
}

/** The time in ms, without what others on the machine had of the processor while the main thread could have run. */
function ranUntil(): number {
  for (let before = waitedForProcessor(); ;) {
    const now = performance.now();
    const after = waitedForProcessor();
    // Else it waited between the two.
    if (after === before) return now - after;
    before = after;
  }
}

const schedule = Buffer.alloc(128);

/** In ms. Linux, Documentation/scheduler/sched-stats: the second number. */
function waitedForProcessor(): number {
  scheduleFile ??= openSync("/proc/self/schedstat", "r");
  const length = readSync(scheduleFile, schedule, 0, schedule.length, 0);
  return Number(schedule.toString("latin1", 0, length).split(" ")[1]) / 1_000_000;
}

/** Answers what was seen. After `/watch` and `/housekeeping` it watches the event loop, which takes some CPU, until it is asked again. */
function listen(probes: string, housekeeping: readonly (() => void)[]): void {
  let ticks: NodeJS.Timeout | undefined;
  const watchLoop = () => {
    let last = ranUntil();
    ticks = setInterval(() => {
      const now = ranUntil();
      seen.holdMs = Math.max(seen.holdMs, now - last - TICK_MS);
      last = now;
    }, TICK_MS);
  };
  const server = createServer((request, response) => {
    clearInterval(ticks);
    response.on("finish", () => {
      // What is asked for and answered here is not what it is to watch.
      seen = structuredClone(nothing);
      if (request.url !== "/") watchLoop();
      if (request.url === "/housekeeping") for (const callback of housekeeping) callback();
    });
    response.end(JSON.stringify({ entry, ...seen } satisfies Observation));
  });
  server.listen(join(probes, `${process.pid}.sock`)).unref();
}
