import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { composeServices } from "@apollo/composition";
import { createTokenSigner } from "@toolyard/service-kit";
import { freePort } from "@toolyard/testing";
import { parse } from "graphql";
import type { Clock, FeedCounts, Usage } from "./messages.ts";
import type { Question } from "./probe.ts";
import { startPeer, startService, type Peer } from "./processes.ts";

export type Callers = "one" | "tokens" | "headers";

/** A graph with a log of events, behind a gateway that can be stopped and started again. */
export interface Graph {
  url: string;
  query: string;
  /** The headers of `count` clients. */
  headersOf(count: number): Promise<Record<string, string>[]>;
  begin(clock: Clock): Promise<void>;
  usage(question?: Question): Promise<Usage>;
  /** What /metrics says. */
  metric(name: string): Promise<number>;
  /** Null where it is not known. */
  upstream(): Promise<FeedCounts | null>;
  stopGateway(signal: NodeJS.Signals): Promise<void>;
  startGateway(): Promise<void>;
  close(): Promise<void>;
}

const METRICS_TOKEN = "the-bench-reads-metrics";

type GatewayProcess = Awaited<ReturnType<typeof startService>>;

/** What both graphs have in common: a gateway on one port. */
async function behindGateway(options: {
  args: readonly string[];
  env: Record<string, string>;
  query: string;
  headersOf: Graph["headersOf"];
  /** The process that has the log. */
  source: Peer;
  upstream: Graph["upstream"];
  close(): Promise<void>;
}): Promise<Graph> {
  const { args, query, headersOf, source, upstream, close } = options;
  const env = { ...options.env, METRICS_TOKEN };
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const start = () => startService({ main: "gateway/main.ts", args, env, port, path: "/health/live" });
  let gateway: GatewayProcess = await start();
  return {
    url,
    query,
    headersOf,
    upstream,
    begin: async (clock) => void (await source.ask({ begin: clock })),
    usage: (question) => gateway.usage(question),
    async metric(name) {
      const text = await (
        await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${METRICS_TOKEN}` } })
      ).text();
      return Number(new RegExp(`^${name} ([\\d.e+]+)$`, "m").exec(text)?.[1] ?? Number.NaN);
    },
    stopGateway: (signal) => gateway.stop(signal),
    async startGateway() {
      gateway = await start();
    },
    async close() {
      await gateway.stop();
      await close();
    },
  };
}

const changes = `
  extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@key"])
  type Query { ok: Boolean }
  type Subscription { changed(after: String): Change! }
  type Change { sequence: String! at: Float! ballast: String! item: Item! }
  type Item @key(fields: "id", resolvable: false) { id: ID! }`;
const items = `
  extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@key"])
  type Item @key(fields: "id") { id: ID! name: String! }`;

export interface ForeignOptions {
  /** Size of each event. */
  bytes: number;
  /**
   * Who subscribes: all anonymous; each with a token of their own, of which the subgraphs are told nothing; or each with a header that
   * goes on to the subgraphs.
   */
  callers: Callers;
  /** Whether something is fetched for each event. */
  withFetch?: boolean;
}

/** A supergraph of somebody else's: `node gateway/main.ts --supergraph FILE`. */
export async function startForeignGraph({ bytes, callers, withFetch = false }: ForeignOptions): Promise<Graph> {
  const feed = await startPeer<{ url: string }>("feed.ts", [String(bytes)]);
  const folder = await mkdtemp(join(tmpdir(), "toolyard-subscriptions-bench-"));
  const file = join(folder, "supergraph.graphql");
  const { url } = feed.ready;
  const composed = composeServices([
    { name: "changes", url: `${url}/changes`, typeDefs: parse(changes) },
    { name: "items", url: `${url}/items`, typeDefs: parse(items) },
  ]);
  if (composed.errors) throw new Error(composed.errors.map(({ message }) => message).join("\n"));
  await writeFile(file, composed.supergraphSdl);
  return behindGateway({
    args: ["--supergraph", file],
    env: {
      ...(callers === "tokens" && { JWKS_URL: `${url}/jwks` }),
      ...(callers === "headers" && { FORWARD_HEADERS: "x-user" }),
      RATE_LIMIT_ENABLED: "false",
    },
    query: `subscription ($after: String) { changed(after: $after) { sequence at ${bytes > 0 ? "ballast" : ""} ${withFetch ? "item { name }" : ""} } }`,
    async headersOf(count) {
      if (callers === "one") return [{}];
      if (callers === "headers") return Array.from({ length: count }, (_, user) => ({ "x-user": `user-${user}` }));
      const { tokens } = await feed.ask<{ tokens: string[] }>({ tokens: count });
      return tokens.map((token) => ({ authorization: `Bearer ${token}` }));
    },
    source: feed,
    upstream: () => feed.ask<FeedCounts>({}),
    async close() {
      await feed.stop();
      await rm(folder, { recursive: true, force: true });
    },
  });
}

/** Toolyard's own graph, its subgraphs in processes of their own: changes of tools from the event log in SQLite. */
export async function startOwnGraph({ bytes, callers }: { bytes: number; callers: Callers }): Promise<Graph> {
  const folder = await mkdtemp(join(tmpdir(), "toolyard-subscriptions-bench-"));
  const secretKey = "a-secret-key-for-benchmarks-0123456789";
  const common = { DATA_DIR: folder, SECRET_KEY: secretKey };
  const tools = await startPeer<{ url: string }>("tools-graph.ts", [folder, secretKey]);
  const identityPort = await freePort();
  const identity = await startService({
    main: "subgraphs/identity/main.ts",
    env: common,
    port: identityPort,
    path: "/health",
  });
  const signer = createTokenSigner({ secretKey });
  // Large events, from what there is: the id of a tool again and again.
  const ballast = Array.from({ length: Math.ceil(bytes / 45) }, (_, index) => `b${index}: toolId`).join(" ");
  return behindGateway({
    args: [],
    env: {
      ...common,
      SUBGRAPH_URLS: `tools=${tools.ready.url},identity=http://127.0.0.1:${identityPort}/graphql`,
      MAX_ALIASES: "1000",
      RATE_LIMIT_ENABLED: "false",
    },
    query: `subscription ($after: String) { toolChanged(after: $after) { sequence at ${ballast} } }`,
    async headersOf(count) {
      const users = Array.from({ length: callers === "one" ? 1 : count }, (_, user) => `user-${user}`);
      return Promise.all(
        users.map(async (userId) => {
          const { token } = await signer.accessToken({ userId, role: "ADMIN", scopes: ["READ"], passwordAt: null });
          return { authorization: `Bearer ${token}` };
        }),
      );
    },
    source: tools,
    upstream: async () => null,
    async close() {
      await identity.stop();
      await tools.stop();
      await rm(folder, { recursive: true, force: true });
    },
  });
}
