/**
 * The bridge's rows of the table in deployments.md, as ratios against something run beside it: `node tests/bench/bridge.bench.ts`.
 * Everything runs on loopback against @modelcontextprotocol/server-everything over stdio.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";

import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { Client as V1Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport as V1StdioTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { Pool } from "undici";

import { bridgeCommand, handOver, pipesFor } from "@toolyard/bridge";
import { freePort } from "@toolyard/testing/ports.ts";

const require = createRequire(import.meta.url);
const everything = join(
  dirname(require.resolve("@modelcontextprotocol/server-everything/package.json")),
  "dist/index.js",
);
const serverCommand = { command: process.execPath, args: [everything, "stdio"] };
const calls = 6_000;
const throughputRounds = 5;
const concurrency = 32;
const startRounds = 9;
const deadlineMs = 20_000;
const initialize = {
  jsonrpc: "2.0",
  id: 0,
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "bench", version: "1" } },
};

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

async function end(child: ChildProcess): Promise<void> {
  const gone = once(child, "exit");
  child.kill("SIGTERM");
  await gone;
}

/** ms from the server's spawn to its answer to `initialize`. */
async function bareStart(): Promise<number> {
  const started = performance.now();
  const child = spawn(serverCommand.command, serverCommand.args, { stdio: ["pipe", "pipe", "ignore"] });
  child.stdin.write(`${JSON.stringify(initialize)}\n`);
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.includes('"id":0')) break;
  }
  const took = performance.now() - started;
  await end(child);
  return took;
}

interface RunningBridge {
  process: ChildProcess;
  pool: Pool;
  port: number;
  post(body: unknown, session?: string): Promise<{ session: string; text: string }>;
}

async function startBridge(): Promise<RunningBridge> {
  const port = await freePort();
  const { args } = bridgeCommand({ host: "127.0.0.1", port, ...serverCommand });
  const child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "ignore", ...pipesFor(1)], env: {} });
  handOver(child, [
    JSON.stringify({
      token: "bench",
      secrets: [],
      environment: process.env,
      setpriv: null,
      temporaryDirectory: tmpdir(),
    }),
  ]);
  const pool = new Pool(`http://127.0.0.1:${port}`, { connections: concurrency });
  return {
    process: child,
    pool,
    port,
    async post(body, session) {
      const response = await pool.request({
        method: "POST",
        path: "/mcp",
        headers: {
          "content-type": "application/json",
          accept: "application/json, text/event-stream",
          authorization: "Bearer bench",
          ...(session === undefined ? {} : { "mcp-session-id": session, "mcp-protocol-version": "2025-11-25" }),
        },
        body: JSON.stringify(body),
      });
      const text = await response.body.text();
      if (response.statusCode >= 400) throw new Error(`${response.statusCode}: ${text}`);
      return { session: String(response.headers["mcp-session-id"]), text };
    },
  };
}

async function openSession(bridge: RunningBridge): Promise<string> {
  const deadline = performance.now() + deadlineMs;
  for (;;) {
    try {
      const { session } = await bridge.post(initialize);
      await bridge.post({ jsonrpc: "2.0", method: "notifications/initialized" }, session);
      return session;
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await new Promise((resolve) => {
        setTimeout(resolve, 4);
      });
    }
  }
}

/** ms from the bridge's spawn to its answer to a session's first `tools/list`. */
async function bridgeStart(): Promise<number> {
  const started = performance.now();
  const bridge = await startBridge();
  const session = await openSession(bridge);
  await bridge.post({ jsonrpc: "2.0", id: 1, method: "tools/list" }, session);
  const took = performance.now() - started;
  await bridge.pool.close();
  await end(bridge.process);
  return took;
}

/**
 * One keep-alive connection that sends a request and waits for its answer. As lean as wrk: on two cores a client library's
 * own 45 µs a call would be measured instead of the bridge.
 */
function openConnection(port: number, session: string | null): { call(n: number): Promise<void>; end(): void } {
  const socket = connect(port, "127.0.0.1").setNoDelay(true);
  const head =
    "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n" +
    `Authorization: Bearer bench\r\n${session === null ? "" : `Mcp-Session-Id: ${session}\r\n`}Content-Length: `;
  let waiting: { resolve: () => void; reject: (error: Error) => void } | null = null;
  let received = "";
  socket.on("error", (error) => waiting?.reject(error));
  socket.on("data", (chunk) => {
    received += chunk.toString("latin1");
    const end = received.indexOf("\r\n\r\n");
    const length = /content-length: (\d+)/i.exec(received)?.[1];
    if (end === -1 || length === undefined || received.length < end + 4 + Number(length)) return;
    const good = received.startsWith("HTTP/1.1 200") && received.includes("Echo: hello");
    const answer = received;
    received = "";
    if (good) waiting?.resolve();
    else waiting?.reject(new Error(answer));
  });
  return {
    call: (n) =>
      new Promise((resolve, reject) => {
        waiting = { resolve, reject };
        const body = `{"jsonrpc":"2.0","id":${n},"method":"tools/call","params":{"name":"echo","arguments":{"message":"hello"}}}`;
        socket.write(`${head}${body.length}\r\n\r\n${body}`);
      }),
    end: () => socket.destroy(),
  };
}

async function bridgeThroughput(port: number, session: string | null): Promise<number> {
  const connections = Array.from({ length: concurrency }, () => openConnection(port, session));
  const rate = await throughput(
    (n, worker) => connections[worker]?.call(n) ?? Promise.reject(new Error("no connection")),
  );
  for (const connection of connections) connection.end();
  return rate;
}

/** Calls a second of `call` at the concurrency above, after a quarter as many to warm up. */
async function throughput(call: (n: number, worker: number) => Promise<unknown>): Promise<number> {
  let next = 0;
  const work = async (until: number, worker: number): Promise<void> => {
    while (next < until) {
      next += 1;
      await call(next, worker);
    }
  };
  const run = (until: number) => Promise.all(Array.from({ length: concurrency }, (_, worker) => work(until, worker)));
  await run(calls / 4);
  const started = performance.now();
  await run(calls);
  return (calls * 0.75 * 1000) / (performance.now() - started);
}

function residentMb(pid: number | undefined): number {
  const line = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return Number(line?.[1] ?? Number.NaN) / 1024;
}

async function bareNodeMb(): Promise<number> {
  const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000); console.log(1)"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  await once(child.stdout, "data");
  const size = residentMb(child.pid);
  await end(child);
  return size;
}

// Start-up, alternating, so that both see the same machine.
await bridgeStart();
const bare: number[] = [];
const bridged: number[] = [];
for (let round = 0; round < startRounds; round += 1) {
  bare.push(await bareStart());
  bridged.push(await bridgeStart());
}
const startRow = { bare: median(bare), bridged: median(bridged) };

const memory = { bare: await bareNodeMb(), started: 0, afterCalls: 0 };

const echo = { name: "echo", arguments: { message: "hello" } };
const direct = new Client({ name: "bench", version: "1" });
await direct.connect(new StdioClientTransport({ ...serverCommand, stderr: "ignore" }));
const directV1 = new V1Client({ name: "bench", version: "1" });
await directV1.connect(new V1StdioTransport({ ...serverCommand, stderr: "ignore" }));
const bridge = await startBridge();
const session = await openSession(bridge);
memory.started = residentMb(bridge.process.pid);
// In turns, so that all see the same machine; the first round warms up.
const rates = { direct: [] as number[], directV1: [] as number[], session: [] as number[], shared: [] as number[] };
for (let round = 0; round <= throughputRounds; round += 1) {
  const round_ = {
    direct: await throughput(() => direct.callTool(echo)),
    session: await bridgeThroughput(bridge.port, session),
    directV1: await throughput(() => directV1.callTool(echo)),
    shared: await bridgeThroughput(bridge.port, null),
  };
  if (round === 0) continue;
  rates.direct.push(round_.direct);
  rates.directV1.push(round_.directV1);
  rates.session.push(round_.session);
  rates.shared.push(round_.shared);
}
const [directRate, directV1Rate, sessionRate, sharedRate] = [
  median(rates.direct),
  median(rates.directV1),
  median(rates.session),
  median(rates.shared),
];
memory.afterCalls = residentMb(bridge.process.pid);
await direct.close();
await directV1.close();
await bridge.pool.close();
await end(bridge.process);

const line = (what: string, value: string, reach: string) =>
  process.stdout.write(`${what.padEnd(64)} ${value.padEnd(44)} ${reach}\n`);
line(
  "bridge: spawn to first tools/list, over bare spawn to initialize",
  `+${(startRow.bridged - startRow.bare).toFixed(0)} ms (${startRow.bridged.toFixed(0)} / ${startRow.bare.toFixed(0)} ms)`,
  "whole platform: ≤ +500 ms",
);
line(
  "bridge: tools/call/s in a session, of the v2 client on stdio",
  `${(sessionRate / directRate).toFixed(2)} (${sessionRate.toFixed(0)} / ${directRate.toFixed(0)})`,
  "≥ 0.7",
);
line(
  "bridge: the same, of the v1 client on stdio",
  `${(sessionRate / directV1Rate).toFixed(2)} (${sessionRate.toFixed(0)} / ${directV1Rate.toFixed(0)})`,
  "≥ 0.7",
);
line(
  "bridge: tools/call/s on the shared child, of the v2 client",
  `${(sharedRate / directRate).toFixed(2)} (${sharedRate.toFixed(0)} / ${directRate.toFixed(0)})`,
  "≥ 0.7",
);
line(
  "bridge: memory when started, of a bare Node process",
  `${(memory.started / memory.bare).toFixed(2)} (${memory.started.toFixed(0)} / ${memory.bare.toFixed(0)} MB)`,
  "≤ 2",
);
line(
  `bridge: memory after ${2 * calls * (throughputRounds + 1)} calls`,
  `${(memory.afterCalls / memory.bare).toFixed(2)} (${memory.afterCalls.toFixed(0)} / ${memory.bare.toFixed(0)} MB)`,
  "≤ 2",
);
