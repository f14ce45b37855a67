/**
 * The proxy's rows of the table in deployments.md, as ratios against something run beside it: `node tests/bench/proxy.bench.ts`.
 * Everything runs on loopback. nginx is used where it is installed (`apt-get install nginx-light`).
 */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { FIRST_INHERITED } from "@toolyard/bridge/child/handover.ts";
import { bridgeCommand, handOver } from "@toolyard/bridge";
import { SECRET_KEY, startControlPlane } from "@toolyard/proxy/fixtures/control-plane.ts";
import { routeTo } from "@toolyard/proxy/fixtures/proxy.ts";
import { listenForBridge } from "@toolyard/runtimes/process/listening-socket.ts";
import { freePort } from "@toolyard/testing/ports.ts";
import { PROXY_ALLOCATOR, PROXY_MAX_HEAP_MB, proxyHeapFlags } from "../../standalone/supervised-process.ts";

const LATENCY_ROUNDS = 7;
const LATENCY_CALLS = 1_500;
const LOAD_ROUNDS = 5;
const LOAD_MS = 2_000;
const CONCURRENCY = 32;
const ROUTES = 1_000;
const STREAMS = 100;
const STREAM_MB = 50;
/** Clock ticks a second in /proc, as `getconf CLK_TCK` says on Linux. */
const TICKS = 100;

const BODY = JSON.stringify({
  jsonrpc: "2.0",
  id: 1,
  method: "tools/call",
  params: {
    name: "echo",
    arguments: { message: "hello" },
    _meta: {
      "io.modelcontextprotocol/protocolVersion": "2026-07-28",
      "io.modelcontextprotocol/clientInfo": { name: "bench", version: "1" },
      "io.modelcontextprotocol/clientCapabilities": {},
    },
  },
});
const REPLICA = `
const { createServer } = require("node:http");
const answer = JSON.stringify({ jsonrpc: "2.0", id: 1, result: { content: [{ type: "text", text: "Echo: hello" }] } });
const large = Buffer.alloc(1024 * 1024);
// Idle connections outlast whatever is measured between two calls.
createServer({ keepAliveTimeout: 600_000 }, (request, response) => {
  if (request.url === "/large") {
    let left = ${STREAM_MB};
    const more = () => {
      while (left-- > 0) if (!response.write(large)) return;
      response.end();
    };
    response.on("drain", more);
    return more();
  }
  request.on("end", () => {
    response.writeHead(200, { "content-type": "application/json", "content-length": answer.length });
    response.end(answer);
  }).resume();
}).listen(0, "127.0.0.1", function () { console.log(this.address().port); });`;

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

async function untilListening(port: number, what: string): Promise<void> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const socket = connect(port, "127.0.0.1");
    const outcome = await Promise.race([
      once(socket, "connect").then(() => true),
      once(socket, "error").then(() => false),
    ]).catch(() => false); // refused: tried again
    socket.destroy();
    if (outcome) return;
    if (Date.now() > deadline) throw new Error(`${what} does not listen on ${port}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** User and system CPU of a process, in µs. */
function cpuOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return ((Number(fields[11]) + Number(fields[12])) / TICKS) * 1e6;
}

function residentMb(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? Number.NaN) / 1024;
}

/** One keep-alive connection that sends a request and waits for its answer; leaner than any client library. */
function openConnection(port: number, path: string, token: string): { call(): Promise<void>; end(): void } {
  const socket = connect(port, "127.0.0.1").setNoDelay(true);
  const message =
    `POST ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Type: application/json\r\n` +
    `Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: echo\r\n` +
    `Authorization: Bearer ${token}\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`;
  let waiting: { resolve: () => void; reject: (error: Error) => void } | null = null;
  let received = "";
  socket.on("error", (error) => waiting?.reject(error));
  socket.on("data", (chunk) => {
    received += chunk.toString("latin1");
    const end = received.indexOf("\r\n\r\n");
    if (end === -1) return;
    const length = /content-length: (\d+)/i.exec(received)?.[1];
    const whole = length === undefined ? received.endsWith("0\r\n\r\n") : received.length >= end + 4 + Number(length);
    if (!whole) return;
    const answer = received;
    received = "";
    if (answer.startsWith("HTTP/1.1 200") && answer.includes("Echo: hello")) waiting?.resolve();
    else waiting?.reject(new Error(answer));
  });
  return {
    call: () =>
      new Promise((resolve, reject) => {
        waiting = { resolve, reject };
        socket.write(message);
      }),
    end: () => socket.destroy(),
  };
}

interface Way {
  name: string;
  port: number;
  path: string;
  token: string;
  pid: number | null;
}

/** Median ms of a call at c=1. */
async function latency({ port, path, token }: Way): Promise<number> {
  const connection = openConnection(port, path, token);
  const took: number[] = [];
  for (let call = 0; call < LATENCY_CALLS; call += 1) {
    const started = performance.now();
    await connection.call();
    took.push(performance.now() - started);
  }
  connection.end();
  return median(took);
}

/** Calls a second, and CPU µs a call of the process in the way. */
async function load({ port, path, token, pid }: Way): Promise<{ rate: number; cpuUs: number }> {
  const connections = Array.from({ length: CONCURRENCY }, () => openConnection(port, path, token));
  await Promise.all(connections.map((connection) => connection.call()));
  const cpuBefore = pid === null ? 0 : cpuOf(pid);
  const started = performance.now();
  let calls = 0;
  await Promise.all(
    connections.map(async (connection) => {
      while (performance.now() - started < LOAD_MS) {
        await connection.call();
        calls += 1;
      }
    }),
  );
  const seconds = (performance.now() - started) / 1000;
  const cpu = pid === null ? 0 : cpuOf(pid) - cpuBefore;
  for (const connection of connections) connection.end();
  return { rate: calls / seconds, cpuUs: cpu / calls };
}

const children: ChildProcess[] = [];
/** Nothing hangs for ever, and nothing is left behind. */
const BENCH_MS = 240_000;
process.once("exit", () => {
  for (const child of children) child.kill("SIGKILL");
});
const overdue = setTimeout(() => {
  process.stderr.write("The benchmark took too long.\n");
  process.exit(1);
}, BENCH_MS);

const directory = await mkdtemp(join(tmpdir(), "toolyard-proxy-bench-"));
function start(
  command: string,
  args: string[],
  env: NodeJS.ProcessEnv = process.env,
  inherited: (string | number)[] = [],
): ChildProcess {
  const stdio = inherited.map((one) => (typeof one === "string" ? "pipe" : one));
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit", ...stdio], env });
  handOver(child, inherited);
  children.push(child);
  return child;
}

const replica = start(process.execPath, ["-e", REPLICA]);
let replicaPort = 0;
for await (const line of createInterface({ input: replica.stdout ?? process.stdin })) {
  replicaPort = Number(line);
  break;
}

const everything = join(
  dirname(createRequire(import.meta.url).resolve("@modelcontextprotocol/server-everything/package.json")),
  "dist/index.js",
);
const bridgeSocket = join(directory, "bridge.sock");
const listening = await listenForBridge({ host: "127.0.0.1", port: null }, { socket: bridgeSocket });
start(
  process.execPath,
  bridgeCommand({ listenFd: FIRST_INHERITED + 1, command: process.execPath, args: [everything, "stdio"] }).args,
  {},
  [
    JSON.stringify({
      token: "bench",
      secrets: [],
      environment: process.env,
      setpriv: null,
      temporaryDirectory: tmpdir(),
    }),
    listening.fd,
  ],
).stdout?.resume();
listening[Symbol.dispose]();

const nginxPort = await freePort();
const nginxBridgePort = await freePort();
const server = (port: number, target: number) => `
  server { listen 127.0.0.1:${port}; location / { proxy_pass http://127.0.0.1:${target}; } }`;
const upstreams = (name: string, target: string) => `upstream ${name} { server ${target}; keepalive 64; }`;
await writeFile(
  join(directory, "nginx.conf"),
  `worker_processes 1; daemon off; master_process off; pid ${directory}/nginx.pid; error_log ${directory}/nginx.log;
events { worker_connections 1024; }
http { access_log off; client_body_temp_path ${directory}; proxy_temp_path ${directory}; fastcgi_temp_path ${directory};
  uwsgi_temp_path ${directory}; scgi_temp_path ${directory};
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host 127.0.0.1; proxy_buffering off; keepalive_requests 1000000;
  ${upstreams("plain", `127.0.0.1:${replicaPort}`)} ${upstreams("bridge", `unix:${bridgeSocket}`)}
  ${server(nginxPort, 0).replace("127.0.0.1:0", "plain")} ${server(nginxBridgePort, 0).replace("127.0.0.1:0", "bridge")} }`,
);
let nginxPid: number | null = null;
const nginx = spawn("nginx", ["-p", directory, "-c", join(directory, "nginx.conf")], { stdio: "inherit" });
const nginxThere = await Promise.race([
  once(nginx, "error").then(() => false),
  untilListening(nginxPort, "nginx").then(() => true),
]);
if (nginxThere) {
  children.push(nginx);
  nginxPid = nginx.pid ?? null;
}

const controlPlane = await startControlPlane();
controlPlane.setRoutes([
  routeTo("plain", [`http://127.0.0.1:${replicaPort}`]),
  {
    ...routeTo("bridge", []),
    targets: [
      {
        replicaId: "bridge-0",
        url: listening.url,
        token: "bench",
        owner: null,
        ready: true,
        headers: [],
        mcpTarget: "",
        remote: false,
      },
    ],
  },
  ...Array.from({ length: ROUTES - 2 }, (_, index) => routeTo(`other-${index}`, [`http://127.0.0.1:${9_000 + index}`])),
]);
const token = await controlPlane.accessToken("bench");
const proxyPort = await freePort();
const proxyEntry = join(import.meta.dirname, "../../packages/proxy/start.mjs");
const proxy = start(process.execPath, [...proxyHeapFlags(PROXY_MAX_HEAP_MB), proxyEntry], {
  PATH: process.env.PATH,
  ...PROXY_ALLOCATOR,
  PROXY_PORT: String(proxyPort),
  GATEWAY_URL: controlPlane.url,
  PROXY_CREDENTIAL: controlPlane.credential,
  DATA_DIR: directory,
  LOG_LEVEL: "warn",
  RATE_LIMIT_CALLER_PER_MINUTE: "0",
  RATE_LIMIT_TOOL_PER_MINUTE: "0",
});
proxy.stdout?.pipe(process.stderr);
await untilListening(proxyPort, "the proxy");
const proxyPid = proxy.pid ?? 0;

const gatewayPort = await freePort();
const subgraphs = ["identity", "tools", "knowledge", "analysis", "deployments"];
const gateway = start(process.execPath, [join(import.meta.dirname, "../../gateway/main.ts")], {
  PATH: process.env.PATH,
  PORT: String(gatewayPort),
  PROXY_URL: `http://127.0.0.1:${proxyPort}`,
  SUBGRAPH_URLS: subgraphs.map((name) => `${name}=http://127.0.0.1:1/graphql`).join(","),
  SECRET_KEY,
  DATA_DIR: directory,
  LOG_LEVEL: "error",
});
gateway.stdout?.pipe(process.stderr);
await untilListening(gatewayPort, "the gateway");
const gatewayPid = gateway.pid ?? 0;

const bare = start(process.execPath, ["-e", "setInterval(() => {}, 1000); console.log(1)"]);
await once(bare.stdout ?? bare, "data");
const bareMb = residentMb(bare.pid ?? 0);
const proxyMbAtStart = residentMb(proxyPid);

const ways = {
  direct: { name: "direct", port: replicaPort, path: "/mcp", token, pid: null },
  nginx: { name: "nginx", port: nginxPort, path: "/mcp", token, pid: nginxPid },
  proxy: { name: "proxy", port: proxyPort, path: "/mcp/plain/v1/mcp", token, pid: proxyPid },
  gateway: { name: "gateway", port: gatewayPort, path: "/mcp/plain/v1/mcp", token, pid: gatewayPid },
  nginxBridge: { name: "nginx, bridge", port: nginxBridgePort, path: "/mcp", token: "bench", pid: nginxPid },
  proxyBridge: { name: "proxy, bridge", port: proxyPort, path: "/mcp/bridge/v1/mcp", token, pid: proxyPid },
} satisfies Record<string, Way>;
type Name = keyof typeof ways;
const names = (Object.keys(ways) as Name[]).filter((name) => nginxThere || !name.startsWith("nginx"));

// In turns, so that all see the same machine; the first round warms up.
const latencies: Record<Name, number[]> = {
  direct: [],
  nginx: [],
  proxy: [],
  gateway: [],
  nginxBridge: [],
  proxyBridge: [],
};
for (let round = 0; round <= LATENCY_ROUNDS; round += 1) {
  for (const name of names) {
    if (name.endsWith("Bridge")) continue;
    const ms = await latency(ways[name]);
    if (round > 0) latencies[name].push(ms);
  }
}
const loads: Record<Name, { rate: number; cpuUs: number }[]> = {
  direct: [],
  nginx: [],
  proxy: [],
  gateway: [],
  nginxBridge: [],
  proxyBridge: [],
};
for (let round = 0; round <= LOAD_ROUNDS; round += 1) {
  for (const name of names) {
    const measured = await load(ways[name]);
    if (round > 0) loads[name].push(measured);
  }
}
const calls = controlPlane.records().length;
const proxyMbAfter = residentMb(proxyPid);

/** Reads so many large answers at once, and prints how many bytes came. In a process of its own: the control plane answers meanwhile. */
const READER = `
const { get } = require("node:http");
const [url, token] = process.argv.slice(1);
let bytes = 0;
for (let n = 0; n < ${STREAMS}; n++)
  get(url, { agent: false, headers: { authorization: "Bearer " + token } }, (answer) => {
    answer.on("data", (chunk) => void (bytes += chunk.length));
  });
process.on("exit", () => console.log(bytes));`;

/** The most that the gateway takes more while it passes on large answers, MB. */
async function memoryOfStreams(): Promise<number> {
  const before = residentMb(gatewayPid);
  let most = before;
  const reader = start(process.execPath, ["-e", READER, `http://127.0.0.1:${gatewayPort}/mcp/plain/v1/large`, token]);
  const sampling = setInterval(() => (most = Math.max(most, residentMb(gatewayPid))), 20);
  // The reader's output is a text.
  const [printed] = (await once(reader.stdout ?? reader, "data")) as [Buffer];
  clearInterval(sampling);
  const missing = STREAMS * STREAM_MB * 1024 * 1024 - Number(printed);
  if (missing !== 0) throw new Error(`${missing} bytes of the answers did not come`);
  return most - before;
}
const streamsMb = await memoryOfStreams();
const rate = (name: Name) => median(loads[name].map((found) => found.rate));
const cpu = (name: Name) => median(loads[name].map((found) => found.cpuUs));
const p50 = (name: Name) => median(latencies[name]);

const line = (what: string, value: string, reach: string) =>
  process.stdout.write(`${what.padEnd(66)} ${value.padEnd(44)} ${reach}\n`);
line(
  "proxy: added p50 at c=1, authentication and usage on",
  `${(p50("proxy") - p50("direct")).toFixed(3)} ms (nginx ${(p50("nginx") - p50("direct")).toFixed(3)} ms)`,
  "≤ 0.2 ms",
);
line(
  `proxy: CPU a call at c=${CONCURRENCY}, of nginx's`,
  `${(cpu("proxy") / cpu("nginx")).toFixed(2)} (${cpu("proxy").toFixed(0)} / ${cpu("nginx").toFixed(0)} µs)`,
  "≤ 4",
);
line(
  `proxy: requests/s at c=${CONCURRENCY} on an MCP replica (bridge), of nginx's`,
  `${(rate("proxyBridge") / rate("nginxBridge")).toFixed(2)} (${rate("proxyBridge").toFixed(0)} / ${rate("nginxBridge").toFixed(0)})`,
  "≥ 0.8",
);
line(
  "proxy: the same on a replica that does nothing",
  `${(rate("proxy") / rate("nginx")).toFixed(2)} (${rate("proxy").toFixed(0)} / ${rate("nginx").toFixed(0)})`,
  "",
);
line("gateway: added p50 at c=1 to the proxy's", `${(p50("gateway") - p50("proxy")).toFixed(3)} ms`, "≤ 0.4 ms");
line(
  `gateway: CPU a call at c=${CONCURRENCY} to pass it on`,
  `${cpu("gateway").toFixed(0)} µs (${rate("gateway").toFixed(0)} calls/s)`,
  "",
);
line(`gateway: memory for ${STREAMS} answers of ${STREAM_MB} MB at once`, `+${streamsMb.toFixed(0)} MB`, "");
line(
  `proxy: memory with ${ROUTES} routes, of a bare Node process`,
  `${(proxyMbAtStart / bareMb).toFixed(2)} (${proxyMbAtStart.toFixed(0)} / ${bareMb.toFixed(0)} MB)`,
  "≤ 3",
);
line(
  `proxy: the same after ${calls} calls`,
  `${(proxyMbAfter / bareMb).toFixed(2)} (${proxyMbAfter.toFixed(0)} MB)`,
  "≤ 3",
);

for (const child of children) {
  if (child.exitCode !== null) continue;
  const gone = once(child, "exit");
  child.kill("SIGTERM");
  await gone;
}
await controlPlane.stop();
await rm(directory, { recursive: true, force: true });
clearTimeout(overdue);
