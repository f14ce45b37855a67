/**
 * CPU of a whole gateway for one operation over HTTP, limits, authentication and metrics on, beside Apollo Server with the stock
 * ApolloGateway and Hive Gateway: `node tests/bench/gateway.bench.ts [--only=ours,stock] [--rounds=9] [--users=50]`. Each asks its
 * subgraphs as the user who asks; answers are compared first.
 *
 * Subgraphs answer over HTTP from a process of their own, each gateway is a process as its users start it. Linux only: a process's CPU
 * is read from /proc.
 */
import { spawn, fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { RemoteGraphQLDataSource as DataSource } from "@apollo/gateway";
import { composeFixture } from "@toolyard/gateway/execution/fixtures/compose.ts";
import { freePort } from "@toolyard/testing";
import { execute, parse, type DocumentNode } from "graphql";
import { SignJWT, exportJWK, generateKeyPair } from "jose";
import { Pool } from "undici";
import { operations, shop } from "./gateways/shop.ts";

type Fetcher = NonNullable<DataSource["fetcher"]>;

const connections = 50;
const requestsPerRound = 1_000;
const {
  values: flags,
  positionals: [role, ...rest],
} = parseArgs({
  allowPositionals: true,
  options: {
    /** Names of gateways, separated by commas; all unless given. */
    only: { type: "string" },
    /** Another checkout of Toolyard, to be compared with this one. */
    other: { type: "string" },
    /** Each of the 50 connections is one of so many. */
    users: { type: "string", default: "50" },
    "warm-up": { type: "string", default: "6000" },
    /** The gateways take turns, so that what else the machine does falls on all of them. */
    rounds: { type: "string", default: "9" },
    /** For ours, such as `--cpu-prof`. */
    "node-options": { type: "string", default: "" },
  },
});

/** The subgraphs, and the keys that the gateway verifies tokens by. */
async function serveSubgraphs(): Promise<void> {
  const { privateKey, publicKey } = await generateKeyPair("EdDSA");
  const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: "bench", alg: "EdDSA" }] };
  const tokens = await Promise.all(
    Array.from({ length: connections }, (_, user) =>
      new SignJWT({ sub: `user-${user % Number(flags.users)}` })
        .setProtectedHeader({ alg: "EdDSA", kid: "bench" })
        .setExpirationTime("1h")
        .sign(privateKey),
    ),
  );
  const urls: Record<string, string> = { jwks: await serve(async () => jwks) };
  let fetches = 0;
  process.on("message", () => process.send?.(fetches));
  for (const [name, schema] of composeFixture(shop).schemas) {
    const documents = new Map<string, DocumentNode>();
    urls[name] = await serve(async (body) => {
      fetches += 1;
      // Sent by the gateways.
      const { query, variables } = JSON.parse(body) as { query: string; variables?: Record<string, unknown> };
      const document = documents.get(query) ?? parse(query, { noLocation: true });
      documents.set(query, document);
      return execute({ schema, document, variableValues: variables ?? {} });
    });
  }
  process.send?.({ urls, tokens });
}

async function serve(answer: (body: string) => Promise<unknown>): Promise<string> {
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const body = JSON.stringify(await answer(await text(request)));
    response
      .writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(body) })
      .end(body);
  };
  const server = createServer((request, response) => void handle(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A TCP server's address is never a pipe's string.
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

async function serveStock(supergraphFile: string, urlsJson: string, port: number, withUndici: boolean): Promise<void> {
  const [{ ApolloGateway, RemoteGraphQLDataSource }, { ApolloServer }, { startStandaloneServer }] = await Promise.all([
    import("@apollo/gateway"),
    import("@apollo/server"),
    import("@apollo/server/standalone"),
  ]);
  const urls = JSON.parse(urlsJson) as Record<string, string>;
  const silent = { debug() {}, info() {}, warn() {}, error() {} };
  const gateway = new ApolloGateway({
    supergraphSdl: await readFile(supergraphFile, "utf8"),
    logger: silent,
    buildService: ({ name }) =>
      new RemoteGraphQLDataSource<{ authorization?: string }>({
        url: urls[name] ?? "",
        willSendRequest({ request, context }) {
          if (context.authorization !== undefined) request.http?.headers.set("authorization", context.authorization);
        },
        ...(withUndici && { fetcher: undiciFetcher() }),
      }),
  });
  const server = new ApolloServer<{ authorization?: string }>({ gateway, logger: silent });
  await startStandaloneServer(server, {
    listen: { port, host: "127.0.0.1" },
    context: async ({ req }) => ({ authorization: req.headers.authorization ?? "" }),
  });
}

/** A lean fetch for Apollo's data sources: undici's pool, one for each origin. */
function undiciFetcher(): Fetcher {
  const pools = new Map<string, Pool>();
  return async (address, init) => {
    const { origin, pathname } = new URL(address);
    const pool = pools.get(origin) ?? new Pool(origin, { connections: 50 });
    pools.set(origin, pool);
    const { statusCode, headers, body } = await pool.request({
      path: pathname,
      method: "POST",
      headers: Object.fromEntries(Object.entries(init?.headers ?? {})),
      body: String(init?.body),
    });
    return new Response(await body.text(), {
      status: statusCode,
      headers: { "content-type": String(headers["content-type"]) },
    });
  };
}

/** CPU seconds of a process's threads so far: in nanoseconds, where `stat` has ticks of 10 ms, a tenth of a round. */
async function cpuOf({ pid }: ChildProcess): Promise<number> {
  const threads = await readdir(`/proc/${pid}/task`);
  const spent = await Promise.all(threads.map((id) => readFile(`/proc/${pid}/task/${id}/schedstat`, "utf8")));
  return spent.reduce((sum, text) => sum + Number.parseInt(text), 0) / 1e9;
}

async function ready(url: string): Promise<void> {
  for (const deadline = Date.now() + 30_000; ;) {
    try {
      const answer = await fetch(url, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: '{"query":"{__typename}"}',
      });
      if (answer.ok) return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
    await delay(50);
  }
}

/** Each connection is a user of its own: what one asks for is never shared with another. */
async function load(pool: Pool, path: string, tokens: readonly string[], query: string, requests: number) {
  const body = JSON.stringify({ query });
  let left = requests;
  const work = async (token: string) => {
    while (left-- > 0) {
      const response = await pool.request({ path, method: "POST", headers: headersOf(token), body });
      if (response.statusCode !== 200) throw new Error(`${response.statusCode}: ${await response.body.text()}`);
      await response.body.dump();
    }
  };
  await Promise.all(tokens.map(work));
}

function headersOf(token = ""): Record<string, string> {
  return { "content-type": "application/json", authorization: `Bearer ${token}` };
}

interface Running {
  name: string;
  path: string;
  child: ChildProcess;
  pool: Pool;
}

/** How many requests the subgraphs have answered so far. */
async function fetchesOf(subgraphs: ChildProcess): Promise<number> {
  const answer = once(subgraphs, "message");
  subgraphs.send("fetches");
  return Number((await answer)[0]);
}

interface Round {
  /** Requests to subgraphs for one operation. */
  fetches: number;
  /** Milliseconds. */
  cpuPerRequest: number;
  requestsPerSecond: number;
}

async function compareAnswers(running: readonly Running[], tokens: readonly string[], query: string): Promise<void> {
  let expected: string | null = null;
  for (const { name, pool, path } of running) {
    const body = JSON.stringify({ query });
    const response = await pool.request({ path, method: "POST", headers: headersOf(tokens[0]), body });
    const answer = JSON.stringify(await response.body.json());
    if (answer !== (expected ?? answer)) throw new Error(`${name} answers something else:\n${answer}`);
    expected = answer;
  }
}

async function measure(
  gateway: Running,
  { tokens, query, subgraphs }: { tokens: readonly string[]; query: string; subgraphs: ChildProcess },
): Promise<Round> {
  const { child, pool, path } = gateway;
  const fetchesBefore = await fetchesOf(subgraphs);
  const [before, beganAt] = [await cpuOf(child), performance.now()];
  await load(pool, path, tokens, query, requestsPerRound);
  const requestsPerSecond = requestsPerRound / ((performance.now() - beganAt) / 1_000);
  return {
    cpuPerRequest: (((await cpuOf(child)) - before) / requestsPerRound) * 1_000,
    requestsPerSecond,
    fetches: ((await fetchesOf(subgraphs)) - fetchesBefore) / requestsPerRound,
  };
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? NaN;
}

/** Prints each gateway's medians, and how many times ours the others take. */
function report(operation: string, running: readonly Running[], measured: readonly (readonly Round[])[]): void {
  const cpu = measured.map((all) => median(all.map(({ cpuPerRequest }) => cpuPerRequest)));
  const ours = cpu[running.findIndex(({ name }) => name === "ours")] ?? NaN;
  running.forEach(({ name }, index) => {
    const rate = median((measured[index] ?? []).map(({ requestsPerSecond }) => requestsPerSecond));
    // The quietest round: what the others of this machine take of its caches is least in it.
    const best = Math.min(...(measured[index] ?? []).map(({ cpuPerRequest }) => cpuPerRequest));
    const fetches = median((measured[index] ?? []).map(({ fetches }) => fetches));
    const times = name === "ours" ? "" : `ours takes 1/${((cpu[index] ?? NaN) / ours).toFixed(1)}`;
    process.stdout.write(
      `${operation.padEnd(13)} ${name.padEnd(20)} ${(cpu[index] ?? NaN).toFixed(3)} ms CPU/request (best ${best.toFixed(3)}) ${rate.toFixed(0).padStart(6)} requests/s ${fetches.toFixed(1)} fetches  ${times}\n`,
    );
  });
}

interface Rival {
  path: string;
  start: (port: number) => ChildProcess;
}

/** Hive Gateway with its own executor and with the Rust planner's runtime, where they are installed. */
async function hiveGateways(folder: string, urls: Record<string, string>): Promise<Record<string, Rival>> {
  const rivals = join(import.meta.dirname, "rivals");
  const program = join(rivals, "node_modules", "@graphql-hive", "gateway", "dist", "bin.js");
  if (!existsSync(program)) {
    process.stdout.write("Hive Gateway is left out: npm install --prefix tests/bench/rivals --no-package-lock\n");
    return {};
  }
  // Hive takes the subgraphs' addresses from the supergraph.
  const supergraph = join(folder, "supergraph-with-urls.graphql");
  const sdl = Object.entries(urls).reduce(
    (text, [name, url]) => text.replace(new RegExp(`(@join__graph\\(name: "${name}", url: )"[^"]*"`), `$1"${url}"`),
    composeFixture(shop).supergraphSdl,
  );
  await writeFile(supergraph, sdl);
  const rival = (config: string): Rival => ({
    path: "/graphql",
    start: (port) =>
      spawn(
        process.execPath,
        [program, "supergraph", supergraph, "--port", String(port), "--host", "127.0.0.1", "-c", join(rivals, config)],
        {
          cwd: rivals,
          stdio: ["ignore", "ignore", "inherit"],
          env: { PATH: process.env["PATH"], NODE_ENV: "production", LOG_LEVEL: "error" },
        },
      ),
  });
  return { hive: rival("default.config.mjs"), "hive, router-runtime": rival("router-runtime.config.mjs") };
}

/** A checkout's gateway as its users start it. */
function toolyard(
  checkout: string,
  supergraph: string,
  jwks: string,
  subgraphUrls: Record<string, string>,
  env: Record<string, string> = {},
): Rival {
  return {
    path: "/graphql",
    start: (port) =>
      spawn(process.execPath, [join(checkout, "gateway", "main.ts"), "--supergraph", supergraph], {
        stdio: "inherit",
        env: {
          PATH: process.env["PATH"],
          PORT: String(port),
          LOG_LEVEL: "warn",
          JWKS_URL: jwks,
          FORWARD_HEADERS: "authorization",
          RATE_LIMIT_OPERATIONS_PER_MINUTE: "1000000",
          SUBGRAPH_URLS: Object.entries(subgraphUrls)
            .map(([name, url]) => `${name}=${url}`)
            .join(),
          ...env,
        },
      }),
  };
}

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "toolyard-bench-"));
  const file = fileURLToPath(import.meta.url);
  const subgraphs = fork(file, ["subgraphs", `--users=${flags.users}`]);
  const children: ChildProcess[] = [subgraphs];
  try {
    const [{ urls, tokens }] = (await once(subgraphs, "message")) as [
      { urls: Record<string, string>; tokens: string[] },
    ];
    const supergraph = join(folder, "supergraph.graphql");
    await writeFile(supergraph, composeFixture(shop).supergraphSdl);
    const { jwks = "", ...subgraphUrls } = urls;
    const root = join(import.meta.dirname, "..", "..");
    const starts = {
      stock: {
        path: "/",
        start: (port: number) => fork(file, ["stock", supergraph, JSON.stringify(subgraphUrls), String(port)]),
      },
      "stock, undici": {
        path: "/",
        start: (port: number) =>
          fork(file, ["stock", supergraph, JSON.stringify(subgraphUrls), String(port), "undici"]),
      },
      ...(await hiveGateways(folder, subgraphUrls)),
      ours: toolyard(root, supergraph, jwks, subgraphUrls, { NODE_OPTIONS: flags["node-options"] }),
      "ours by apollo": toolyard(root, supergraph, jwks, subgraphUrls, { EXECUTOR: "apollo" }),
      ...(flags.other !== undefined && { other: toolyard(flags.other, supergraph, jwks, subgraphUrls) }),
    };
    const running: Running[] = [];
    for (const [name, { path, start }] of Object.entries(starts)) {
      if (flags.only !== undefined && !flags.only.split(",").includes(name)) continue;
      const port = await freePort();
      const child = start(port);
      children.push(child);
      const origin = `http://127.0.0.1:${port}`;
      await ready(origin + path);
      running.push({ name, path, child, pool: new Pool(origin, { connections }) });
    }
    for (const [name, query] of Object.entries(operations)) {
      await compareAnswers(running, tokens, query);
      for (const { pool, path } of running) await load(pool, path, tokens, query, Number(flags["warm-up"]));
      const measured = running.map(() => [] as Round[]);
      for (let round = 0; round < Number(flags.rounds); round++)
        for (const [index, gateway] of running.entries())
          measured[index]?.push(await measure(gateway, { tokens, query, subgraphs }));
      report(name, running, measured);
    }
    for (const { pool, child } of running) {
      await pool.close();
      child.kill("SIGTERM");
      await once(child, "exit");
    }
  } finally {
    for (const child of children) child.kill("SIGTERM");
    await rm(folder, { recursive: true, force: true });
  }
}

if (role === "subgraphs") await serveSubgraphs();
else if (role === "stock") await serveStock(rest[0] ?? "", rest[1] ?? "{}", Number(rest[2]), rest[3] === "undici");
else await main();
