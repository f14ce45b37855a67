/**
 * CPU and throughput of the gateway for one operation, beside the stock Apollo gateway: `node tests/bench/gateway.bench.ts`.
 *
 * Subgraphs answer over HTTP from a process of their own; each gateway is a process of its own, run as people run it: `gateway/main.ts
 * --supergraph FILE` with its limits and metrics on, and Apollo Server with @apollo/gateway. Answers are checked equal before anything
 * is measured. CPU is what the kernel counts for the gateway's process (Linux).
 */
import { fork, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { ApolloGateway, RemoteGraphQLDataSource } from "@apollo/gateway";
import { ApolloServer } from "@apollo/server";
import { startStandaloneServer } from "@apollo/server/standalone";
import { composeFixture } from "@toolyard/gateway/execution/fixtures/compose.ts";
import { execute, parse } from "graphql";
import { fetch as undiciFetch, Pool } from "undici";
import { operations, shop } from "./gateways/shop.ts";

const connections = 50;
const warmUpRequests = 1_500;
const rounds = 3;
/** In each round. */
const measuredRequests = 2_000;

/**
 * Subgraphs over HTTP, each on a port of the system's choice. What was asked before is answered from memory: subgraphs that work hard
 * would be all that is measured.
 */
async function startSubgraphs(): Promise<Record<string, string>> {
  const urls: Record<string, string> = {};
  for (const [name, schema] of composeFixture(shop).schemas) {
    const answers = new Map<string, string>();
    const answer = async (body: string): Promise<string> => {
      const known = answers.get(body);
      if (known !== undefined) return known;
      // Sent by the gateways under test.
      const { query, variables = {} } = JSON.parse(body) as { query: string; variables?: Record<string, unknown> };
      const fresh = JSON.stringify(await execute({ schema, document: parse(query), variableValues: variables }));
      answers.set(body, fresh);
      return fresh;
    };
    const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
      fetches++;
      const body = await answer(await text(request));
      const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
      response.writeHead(200, headers).end(body);
    };
    const server = createServer((request, response) => void handle(request, response));
    server.keepAliveTimeout = 60_000;
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    // `listen` on a TCP port answers an AddressInfo.
    urls[name] = `http://127.0.0.1:${(server.address() as AddressInfo).port}/graphql`;
  }
  return urls;
}

let fetches = 0;

async function startStock(urls: Record<string, string>, withUndici: boolean): Promise<string> {
  const gateway = new ApolloGateway({
    supergraphSdl: composeFixture(shop).supergraphSdl,
    logger: { debug() {}, info() {}, warn() {}, error() {} },
    buildService: ({ name }) =>
      new RemoteGraphQLDataSource({
        url: urls[name] ?? "",
        // The same interface, from another package.
        ...(withUndici && { fetcher: undiciFetch as never }),
      }),
  });
  const server = new ApolloServer({ gateway });
  const { url } = await startStandaloneServer(server, { listen: { port: 0, host: "127.0.0.1" } });
  return new URL("/", url).href;
}

type Role = "subgraphs" | "stock" | "stock-undici";
type Message = { ready: unknown } | { fetches: number };

async function runRole(role: Role): Promise<void> {
  const urls = JSON.parse(process.argv[3] ?? "{}") as Record<string, string>;
  const ready = role === "subgraphs" ? await startSubgraphs() : await startStock(urls, role === "stock-undici");
  process.on("message", () => process.send?.({ fetches } satisfies Message));
  process.on("disconnect", () => process.exit(0));
  process.send?.({ ready } satisfies Message);
}

interface RunningRole {
  child: ChildProcess;
  next(): Promise<Message>;
}

function startRole(role: Role, urls: unknown = {}): RunningRole {
  const child = fork(fileURLToPath(import.meta.url), [role, JSON.stringify(urls)]);
  // Sent by `runRole`.
  return {
    child,
    next: () => new Promise((resolve) => child.once("message", (message) => resolve(message as Message))),
  };
}

interface RunningGateway {
  url: string;
  pid: number;
  stop(): Promise<void>;
}

async function startGateway(name: string, urls: Record<string, string>, folder: string): Promise<RunningGateway> {
  if (name !== "ours") {
    const role = startRole(name === "stock" ? "stock" : "stock-undici", urls);
    const message = await role.next();
    return {
      url: String("ready" in message ? message.ready : ""),
      pid: role.child.pid ?? 0,
      async stop() {
        role.child.disconnect();
        await once(role.child, "exit");
      },
    };
  }
  const port = await freePort();
  const main = fileURLToPath(new URL("../../gateway/main.ts", import.meta.url));
  const child = spawn(process.execPath, [main, "--supergraph", join(folder, "supergraph.graphql")], {
    env: {
      PORT: String(port),
      DATA_DIR: folder,
      LOG_LEVEL: "warn",
      RATE_LIMIT_ENABLED: "false",
      FORWARD_HEADERS: "x-client",
      SUBGRAPH_URLS: Object.entries(urls)
        .map((entry) => entry.join("="))
        .join(),
    },
    stdio: ["ignore", "inherit", "inherit"],
  });
  const origin = `http://127.0.0.1:${port}`;
  const deadline = performance.now() + 20_000;
  const isUp = () =>
    fetch(`${origin}/health/live`).then(
      ({ ok }) => ok,
      () => false,
    );
  while (!(await isUp())) {
    if (performance.now() > deadline || child.exitCode !== null) throw new Error("The gateway did not start.");
    await delay(50);
  }
  return {
    url: `${origin}/graphql`,
    pid: child.pid ?? 0,
    async stop() {
      child.kill("SIGTERM");
      await once(child, "exit");
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  // `listen` on a TCP port answers an AddressInfo.
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** CPU time of a process so far, ms: user and system, in ticks of 10 ms. */
async function cpuMsOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

let clients = 0;

/** Sends requests over all connections, as one client or as one for each request. */
async function load(pool: Pool, options: { path: string; query: string; requests: number; isOneClient: boolean }) {
  const { path, query, requests, isOneClient } = options;
  const body = JSON.stringify({ query });
  let left = requests;
  const work = async () => {
    while (left-- > 0) {
      const client = isOneClient ? "one" : String(clients++);
      const headers = { "content-type": "application/json", "x-client": client };
      const response = await pool.request({ path, method: "POST", headers, body });
      await response.body.dump();
    }
  };
  await Promise.all(Array.from({ length: connections }, work));
}

interface Measurement {
  cpuMs: number;
  /** Requests a second. */
  rate: number;
}

/** The gateway, and whether its requests are all one client's, so that identical reads under way may be shared. */
const subjects = [
  { gateway: "stock", isOneClient: false, label: "stock, Apollo Server" },
  { gateway: "stock-undici", isOneClient: false, label: "stock with undici" },
  { gateway: "ours", isOneClient: false, label: "ours, every request another client" },
  { gateway: "ours", isOneClient: true, label: "ours, one client" },
];

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "toolyard-bench-"));
  await writeFile(join(folder, "supergraph.graphql"), composeFixture(shop).supergraphSdl);
  const subgraphs = startRole("subgraphs");
  const started = await subgraphs.next();
  // Answered by `startSubgraphs`.
  const urls = ("ready" in started ? started.ready : {}) as Record<string, string>;
  const fetchesSoFar = async () => {
    const answered = subgraphs.next();
    subgraphs.child.send("fetches");
    const message = await answered;
    return "fetches" in message ? message.fetches : 0;
  };
  const answers = new Map<string, string>();
  const running = new Map<string, { gateway: RunningGateway; pool: Pool; path: string }>();
  const measured = new Map<string, Measurement>();
  try {
    for (const name of ["stock", "stock-undici", "ours"]) {
      const gateway = await startGateway(name, urls, folder);
      const { origin, pathname: path } = new URL(gateway.url);
      const pool = new Pool(origin, { connections });
      running.set(name, { gateway, pool, path });
      for (const [operation, query] of Object.entries(operations)) {
        const headers = { "content-type": "application/json" };
        const ask = () => pool.request({ path, method: "POST", headers, body: JSON.stringify({ query }) });
        const answer = JSON.stringify(await (await ask()).body.json());
        if (answer !== (answers.get(operation) ?? answer))
          throw new Error(`The answers to "${operation}" differ:\n${answers.get(operation)}\n${answer}`);
        answers.set(operation, answer);
        const before = await fetchesSoFar();
        await (await ask()).body.dump();
        print(`${name}: ${(await fetchesSoFar()) - before} fetches for "${operation}"`);
        await load(pool, { path, query, requests: warmUpRequests, isOneClient: false });
      }
    }
    // In turns, and of each the best: a machine that does other things as well makes everything look worse than it is.
    for (let round = 0; round < rounds; round++) {
      for (const { gateway: name, isOneClient, label } of subjects) {
        const subject = running.get(name);
        if (!subject) continue;
        const { gateway, pool, path } = subject;
        for (const [operation, query] of Object.entries(operations)) {
          const [cpuBefore, beganAt] = [await cpuMsOf(gateway.pid), performance.now()];
          await load(pool, { path, query, requests: measuredRequests, isOneClient });
          const cpuMs = ((await cpuMsOf(gateway.pid)) - cpuBefore) / measuredRequests;
          const rate = measuredRequests / ((performance.now() - beganAt) / 1_000);
          const best = measured.get(`${label} ${operation}`);
          measured.set(`${label} ${operation}`, {
            cpuMs: Math.min(cpuMs, best?.cpuMs ?? Infinity),
            rate: Math.max(rate, best?.rate ?? 0),
          });
        }
      }
    }
    for (const operation of Object.keys(operations)) {
      for (const { gateway: name, label } of subjects) {
        const { cpuMs = 0, rate = 0 } = measured.get(`${label} ${operation}`) ?? {};
        const parts = subjects.flatMap((other) => {
          const theirs = measured.get(`${other.label} ${operation}`);
          return name !== "ours" || other.gateway === "ours" || !theirs
            ? []
            : `1/${(theirs.cpuMs / cpuMs).toFixed(1)} of ${other.label}`;
        });
        print(
          `${operation.padEnd(13)} ${label.padEnd(36)} ${cpuMs.toFixed(3)} ms CPU/request  ${rate.toFixed(0).padStart(5)} requests/s  ${parts.join(", ")}`,
        );
      }
    }
  } finally {
    for (const { gateway, pool } of running.values()) {
      await pool.close();
      await gateway.stop();
    }
    subgraphs.child.disconnect();
    await rm(folder, { recursive: true, force: true });
  }
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

const role = process.argv[2];
if (role === "subgraphs" || role === "stock" || role === "stock-undici") await runRole(role);
else await main();
