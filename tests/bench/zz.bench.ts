/**
 * CPU of the gateway's process for one operation, beside the stock Apollo gateway: `node tests/bench/gateway.bench.ts`.
 *
 * Subgraphs answer over HTTP from a process of their own; each gateway runs in a process of its own behind the same bare HTTP server,
 * so what is compared is planning, fetching and assembling. Answers are checked equal before anything is measured.
 */
import { fork, type ChildProcess } from "node:child_process";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { ApolloGateway, RemoteGraphQLDataSource } from "@apollo/gateway";
import { anonymous } from "@toolyard/service-kit";
import { composeFixture, type FixtureSubgraph } from "@toolyard/gateway/execution/fixtures/compose.ts";
import { createExecutor } from "@toolyard/gateway/execution/executor.ts";
import { createHttpClient } from "@toolyard/gateway/execution/http-client.ts";
import { execute, getOperationAST, parse, type DocumentNode } from "graphql";
import { Pool } from "undici";

const connections = 50;
const warmUpRequests = 1_500;
const measuredRequests = 6_000;

const operations = {
  "three hops": `query Hops { products(first: 10) { upc name price shippingEstimate reviews { id body author { id name username } } } }`,
  "one subgraph": `query One { products(first: 10) { upc name price weight } }`,
};

const products = Array.from({ length: 20 }, (_, i) => ({
  upc: `p${i}`,
  name: `Product ${i}`,
  price: 10 * i,
  weight: i,
}));
const reviews = Array.from({ length: 60 }, (_, i) => ({
  id: `r${i}`,
  body: `Review number ${i}`,
  upc: `p${i % 20}`,
  authorId: `u${i % 7}`,
}));
const users = Array.from({ length: 7 }, (_, i) => ({ id: `u${i}`, name: `User ${i}`, username: `user${i}` }));

interface Upc {
  upc: string;
}

const shop: Record<string, FixtureSubgraph> = {
  products: {
    typeDefs: `type Query { products(first: Int): [Product!]! } type Product @key(fields: "upc") { upc: ID! name: String price: Int weight: Int }`,
    resolvers: { Query: { products: (_: unknown, { first }: { first: number }) => products.slice(0, first) } },
  },
  reviews: {
    typeDefs: `type Product @key(fields: "upc") { upc: ID! reviews: [Review!]! } type Review @key(fields: "id") { id: ID! body: String author: User } type User @key(fields: "id", resolvable: false) { id: ID! }`,
    resolvers: {
      Product: { reviews: ({ upc }: Upc) => reviews.filter((review) => review.upc === upc) },
      Review: { author: ({ authorId }: { authorId: string }) => ({ id: authorId }) },
    },
  },
  users: {
    typeDefs: `type User @key(fields: "id") { id: ID! name: String username: String }`,
    resolvers: { User: { __resolveReference: ({ id }: { id: string }) => users.find((user) => user.id === id) } },
  },
  shipping: {
    typeDefs: `type Product @key(fields: "upc") { upc: ID! price: Int @external weight: Int @external shippingEstimate: Int @requires(fields: "price weight") }`,
    resolvers: {
      Product: { shippingEstimate: ({ price, weight }: { price: number; weight: number }) => price + weight },
    },
  },
};

type Answer = (query: string, variables: Record<string, unknown>) => Promise<unknown>;

/** Serves GraphQL over HTTP on a port of the system's choice. */
async function serve(answer: Answer): Promise<string> {
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    // Sent by this file's own clients.
    const { query, variables = {} } = JSON.parse(await text(request)) as {
      query: string;
      variables?: Record<string, unknown>;
    };
    const body = JSON.stringify(await answer(query, variables));
    response
      .writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(body) })
      .end(body);
  };
  const server = createServer((request, response) => void handle(request, response));
  server.keepAliveTimeout = 60_000;
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // `listen` on a TCP port answers an AddressInfo.
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/graphql`;
}

async function startSubgraphs(): Promise<Record<string, string>> {
  const urls: Record<string, string> = {};
  for (const [name, schema] of composeFixture(shop).schemas) {
    const documents = new Map<string, DocumentNode>();
    urls[name] = await serve(async (query, variableValues) => {
      const document = documents.get(query) ?? parse(query, { noLocation: true });
      documents.set(query, document);
      return execute({ schema, document, variableValues });
    });
  }
  return urls;
}

async function startOurs(urls: Record<string, string>): Promise<string> {
  const executor = createExecutor({
    supergraphSdl: composeFixture(shop).supergraphSdl,
    clients: Object.entries(urls).map(([name, url]) => createHttpClient({ name, url, headersFor: () => ({}) })),
  });
  return serve((query, variables) =>
    executor.execute({ query, variables, context: { caller: anonymous, requestId: "bench" } }),
  );
}

async function startStock(urls: Record<string, string>): Promise<string> {
  const gateway = new ApolloGateway({
    supergraphSdl: composeFixture(shop).supergraphSdl,
    logger: { debug() {}, info() {}, warn() {}, error() {} },
    buildService: ({ name }) => new RemoteGraphQLDataSource({ url: urls[name] ?? "" }),
  });
  const { schema, executor } = await gateway.load();
  const documents = new Map<string, DocumentNode>();
  return serve((query, variables) => {
    const document = documents.get(query) ?? parse(query);
    documents.set(query, document);
    const request = { query, variables };
    const operation = getOperationAST(document);
    // What the executor reads of Apollo Server's request context.
    return executor({
      document,
      request,
      operation,
      schema,
      source: query,
      queryHash: query,
      operationName: null,
      context: {},
      metrics: {},
      cache: {},
    } as never);
  });
}

type Role = "subgraphs" | "ours" | "stock";
type Message = { ready: unknown } | { cpuMs: number };

async function runRole(role: Role): Promise<void> {
  const urls = JSON.parse(process.argv[3] ?? "{}") as Record<string, string>;
  const ready =
    role === "subgraphs" ? await startSubgraphs() : role === "ours" ? await startOurs(urls) : await startStock(urls);
  process.on("message", () => {
    const { user, system } = process.cpuUsage();
    process.send?.({ cpuMs: (user + system) / 1_000 } satisfies Message);
  });
  process.on("disconnect", () => process.exit(0));
  process.send?.({ ready } satisfies Message);
}

function startRole(role: Role, urls: unknown = {}): { child: ChildProcess; next(): Promise<Message> } {
  const child = fork(fileURLToPath(import.meta.url), [role, JSON.stringify(urls)], {execArgv: role==="ours" ? [] : []});
  // Sent by `runRole`.
  return {
    child,
    next: () => new Promise((resolve) => child.once("message", (message) => resolve(message as Message))),
  };
}

async function load(pool: Pool, query: string, requests: number): Promise<void> {
  const body = JSON.stringify({ query });
  let left = requests;
  const work = async () => {
    while (left-- > 0) {
      const response = await pool.request({
        path: "/graphql",
        method: "POST",
        headers: { "content-type": "application/json" },
        body,
      });
      await response.body.dump();
    }
  };
  await Promise.all(Array.from({ length: connections }, work));
}

async function main(): Promise<void> {
  const subgraphs = startRole("subgraphs");
  const started = await subgraphs.next();
  const urls = "ready" in started ? started.ready : {};
  const answers = new Map<string, string>();
  const cpu = new Map<string, number>();
  for (const role of ["ours"] as const) {
    const gateway = startRole(role, urls);
    const ready = await gateway.next();
    const pool = new Pool(new URL(String("ready" in ready ? ready.ready : "")).origin, { connections });
    for (const [name, query] of Object.entries(operations)) {
      const response = await pool.request({
        path: "/graphql",
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ query }),
      });
      const answer = JSON.stringify(await response.body.json());
      if (answer !== (answers.get(name) ?? answer))
        throw new Error(`The answers to "${name}" differ:\n${answers.get(name)}\n${answer}`);
      answers.set(name, answer);
      await load(pool, query, warmUpRequests);
      const cpuOf = async () => {
        const answered = gateway.next();
        gateway.child.send("cpu");
        const message = await answered;
        return "cpuMs" in message ? message.cpuMs : 0;
      };
      const [before, beganAt] = [await cpuOf(), performance.now()];
      await load(pool, query, measuredRequests);
      const perRequest = ((await cpuOf()) - before) / measuredRequests;
      const rate = measuredRequests / ((performance.now() - beganAt) / 1_000);
      cpu.set(`${role} ${name}`, perRequest);
      const stock = cpu.get(`stock ${name}`) ?? perRequest;
      print(
        `${role.padEnd(6)} ${name.padEnd(13)} ${perRequest.toFixed(3)} ms CPU/request  ${rate.toFixed(0)} requests/s  1/${(stock / perRequest).toFixed(1)} of stock`,
      );
    }
    await pool.close();
    gateway.child.disconnect();
  }
  subgraphs.child.disconnect();
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

const role = process.argv[2];
if (role === "subgraphs" || role === "ours" || role === "stock") await runRole(role);
else await main();
