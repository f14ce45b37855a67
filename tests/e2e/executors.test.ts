import { createHash } from "node:crypto";
import { eventually, graphqlClient, logIn, startToolyard } from "@toolyard/testing";
import { createClient } from "graphql-ws";
import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import { startGateway, startShop, type Shop } from "./fixtures/shop.ts";

const METRICS_TOKEN = "a-token-for-scrapers";
/** The stock gateway answers the key for another field that is called so: docs/any-supergraph.md. */
const STOCK_IS_WRONG = "{ products(first: 1) { upc: name reviews { body } } }";

let shop: Shop;
beforeAll(async () => {
  shop = await startShop();
});
afterAll(async () => {
  await shop?.close();
});

async function post(url: string, body: object, headers: Record<string, string> = {}) {
  const answer = await fetch(`${url}/graphql`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
  // The shape of every answer of GraphQL over HTTP.
  return (await answer.json()) as {
    data?: Record<string, unknown>;
    errors?: { path?: unknown[]; message: string; extensions: Record<string, unknown> }[];
  };
}

/** How many queries were compared, by what came of it. */
async function compared(url: string): Promise<Record<string, number>> {
  const headers = { authorization: `Bearer ${METRICS_TOKEN}` };
  const metrics = await (await fetch(`${url}/metrics`, { headers })).text();
  const lines = metrics.matchAll(/^graphql_shadow_queries_total\{outcome="(\w+)"\} (\d+)$/gm);
  return Object.fromEntries([...lines].map(([, outcome = "", count]) => [outcome, Number(count)]));
}

test("EXECUTOR=apollo runs queries by the stock gateway, with all that is before and around it", async () => {
  const env = { EXECUTOR: "apollo", FORWARD_HEADERS: "x-tenant" };
  await using gateway = await startGateway(shop.supergraph({ isOpen: true }), env);
  shop.received.length = 0;
  const query = "{ products(first: 2) { name reviews { body } } }";
  expect((await post(gateway.url, { query }, { "x-tenant": "acme" })).data).toEqual({
    products: [0, 1].map((n) => ({ name: `Product p${n}`, reviews: [{ body: "good" }] })),
  });
  expect(shop.received[0]).toMatchObject({ "x-tenant": "acme" });
  expect((await post(gateway.url, { query: STOCK_IS_WRONG })).data).toMatchObject({ products: [{ upc: "p0" }] });

  const broken = await post(gateway.url, { query: "{ broken }" });
  expect(broken.data).toEqual({ broken: null });
  expect(broken.errors).toMatchObject([
    { path: ["broken"], extensions: { code: "INTERNAL_SERVER_ERROR", service: "products" } },
  ]);
  expect(JSON.stringify(broken)).not.toContain("10.0.0.7");
  expect((await post(gateway.url, { query: "{ expensive }" })).errors).toMatchObject([
    { extensions: { code: "OPERATION_LIMIT_EXCEEDED", limit: "cost" } },
  ]);
  const sha256Hash = createHash("sha256").update(query).digest("hex");
  const extensions = { persistedQuery: { version: 1, sha256Hash } };
  expect((await post(gateway.url, { extensions })).errors?.[0]?.message).toBe("PersistedQueryNotFound");
  expect((await post(gateway.url, { query, extensions })).data).toBeDefined();
  expect((await post(gateway.url, { extensions })).data).toBeDefined();
  expect((await post(gateway.url, { query: 'mutation { sell(upc: "p1") }' })).data).toEqual({ sell: 1 });

  const client = createClient({ url: `${gateway.url.replace("http", "ws")}/graphql`, webSocketImpl: WebSocket });
  const events = client.iterate({ query: 'subscription { productSold(after: "0") { sequence product { name } } }' });
  shop.publish();
  expect((await events.next()).value).toMatchObject({
    data: { productSold: { sequence: "1", product: { name: "Product p1" } } },
  });

  const colours = "{ products(first: 1) { colour name } }";
  const extended = { products: "extend type Product { colour: String }" };
  await gateway.replaceSupergraph(shop.supergraph({ ...extended, isOpen: true }));
  await eventually("the new field", async () => (await post(gateway.url, { query: colours })).data);
  shop.publish();
  expect((await events.next()).value).toMatchObject({ data: { productSold: { sequence: "2" } } });
  // It knows no authorization, and says so.
  await gateway.replaceSupergraph(shop.supergraph(extended));
  await eventually("the refusal in the log", () => gateway.output().includes("is refused"));
  expect((await post(gateway.url, { query: colours })).data).toBeDefined();
  await client.dispose();
  expect(await gateway.stop()).toBe(0);
});

test("EXECUTOR=apollo does not start with a supergraph that the stock gateway does not take", async () => {
  await expect(startGateway(shop.supergraph(), { EXECUTOR: "apollo" })).rejects.toThrow(/authenticated/);
});

test("EXECUTOR_SHADOW counts what both answer alike, and says where they do not, by hash and place alone", async () => {
  const env = { EXECUTOR_SHADOW: "1", METRICS_TOKEN };
  await using gateway = await startGateway(shop.supergraph({ isOpen: true }), env);
  for (const query of ["{ products(first: 2) { name reviews { body } } }", "{ broken }"]) {
    await post(gateway.url, { query });
    await post(gateway.url, { query: 'mutation { sell(upc: "p1") }' });
  }
  await eventually("both are compared", async () => (await compared(gateway.url))["same"] === 2);
  expect(gateway.output()).toBe("");

  expect((await post(gateway.url, { query: STOCK_IS_WRONG })).data).toEqual({
    products: [{ upc: "Product p0", reviews: [{ body: "good" }] }],
  });
  await eventually("it is told", async () => (await compared(gateway.url))["differed"] === 1);
  const told = gateway.output();
  const hash = createHash("sha256").update(STOCK_IS_WRONG).digest("hex").slice(0, 16);
  expect(JSON.parse(told)).toMatchObject({
    hash,
    engines: ["toolyard", "apollo"],
    data: ["products.*.upc"],
    errors: [],
  });
  for (const secret of ["Product p0", '"p0"', "good", "products("]) expect(told).not.toContain(secret);
  expect(await compared(gateway.url)).toEqual({ same: 2, differed: 1 });
  expect(await gateway.stop()).toBe(0);
});

test("on Toolyard's own graph in one process, both executors answer alike for every caller", async () => {
  const env = { EXECUTOR: "apollo", EXECUTOR_SHADOW: "1", METRICS_TOKEN, ADMIN_PASSWORD: "correct horse battery" };
  await using toolyard = await startToolyard({ env });
  const admin = graphqlClient(toolyard.url, await logIn(toolyard.url, "admin", env.ADMIN_PASSWORD));
  await admin.query(
    'mutation { createTool(input: { slug: "echo", name: "Echo", description: "Says it again.", launch: { stdio: { command: "node", args: ["-v"] } } }) { id } }',
  );
  const queries = [
    "{ me { username role } tools { totalCount edges { node { slug name versions { totalCount } } } } }",
    "{ tools { edges { cursor node { slug author { username } deployments { edges { node { name status } } } documents { totalCount } } } pageInfo { hasNextPage } } }",
    '{ tool(id: "echo") { slug currentVersion { number launch { ... on StdioLaunch { command args } } } } nothing: tool(id: "nothing") { slug } }',
    "{ users { edges { node { username role } } } deployments { totalCount } }",
  ];
  const total = async () => Object.values(await compared(toolyard.url)).reduce((sum, count) => sum + count, 0);
  for (const client of [admin, graphqlClient(toolyard.url)])
    for (const query of queries) {
      const before = await total();
      await client.send(query);
      // More than a few at a time are not compared.
      await eventually("it is compared", async () => (await total()) > before);
    }
  const outcomes = await eventually("all are compared", async () => {
    const now = await compared(toolyard.url);
    return (now["same"] ?? 0) >= 2 * queries.length ? Object.keys(now) : null;
  });
  expect(outcomes).not.toContain("differed");
  expect(outcomes).not.toContain("failed");
  expect(toolyard.output()).not.toContain("differently");
  expect(await toolyard.stop()).toBe(0);
});
