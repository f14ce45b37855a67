import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "@toolyard/testing";
import { getIntrospectionQuery } from "graphql";
import { createClient, type Client } from "graphql-ws";
import { SignJWT, exportJWK, generateKeyPair } from "jose";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { startGateway, startShop, type RunningGateway, type Shop } from "./fixtures/shop.ts";

interface Answer {
  status: number;
  headers: Headers;
  data?: Record<string, unknown> | null;
  errors?: { message: string; path?: unknown[]; extensions: Record<string, unknown> }[];
  extensions?: Record<string, unknown>;
}

const METRICS_TOKEN = "a-token-for-scrapers";

async function post(gateway: RunningGateway, body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  const answer = await fetch(`${gateway.url}/graphql`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
  // The shape of every answer of GraphQL over HTTP.
  const parsed = (await answer.json()) as Omit<Answer, "status" | "headers">;
  return { ...parsed, status: answer.status, headers: answer.headers };
}

const sockets: Client[] = [];
function connect(gateway: RunningGateway): Client {
  const client = createClient({
    url: `${gateway.url.replace("http", "ws")}/graphql`,
    webSocketImpl: WebSocket,
    retryAttempts: 0,
  });
  sockets.push(client);
  return client;
}

/** The errors that a socket's operation is refused with. */
async function refusalOn(
  client: Client,
  query: string,
): Promise<{ message: string; extensions?: Record<string, unknown> }[]> {
  return new Promise((resolve, reject) => {
    client.subscribe(
      { query },
      {
        next: ({ errors }) =>
          errors && resolve(errors.map(({ message, extensions = {} }) => ({ message, extensions }))),
        error: (error) =>
          Array.isArray(error) ? resolve(error) : reject(error instanceof Error ? error : new Error(String(error))),
        complete: () => reject(new Error("It was not refused.")),
      },
    );
  });
}

let shop: Shop;
beforeAll(async () => {
  shop = await startShop();
});
afterEach(async () => {
  for (const client of sockets.splice(0)) await client.dispose();
});
afterAll(async () => {
  await shop?.close();
});

const PRODUCTS = "{ products(first: 2) { upc name reviews { body } } }";
const products = {
  products: ["p0", "p1"].map((upc) => ({ upc, name: `Product ${upc}`, reviews: [{ body: "good" }] })),
};

describe("a supergraph of somebody else's", () => {
  let gateway: RunningGateway;
  beforeAll(async () => {
    gateway = await startGateway(shop.supergraph(), {
      FORWARD_HEADERS: "x-tenant,authorization",
      METRICS_TOKEN,
    });
  });
  afterAll(async () => {
    await gateway?.[Symbol.asyncDispose]();
  });

  test("is served to anyone, with no secret, no data folder and nothing logged", async () => {
    expect(await post(gateway, { query: PRODUCTS })).toMatchObject({ status: 200, data: products });
    expect(gateway.output()).toBe("");
    expect((await fetch(`${gateway.url}/health`)).status).toBe(200);
    expect((await fetch(`${gateway.url}/.well-known/jwks.json`)).status).toBe(404);
  });

  test("gets the headers that it is to get, and the trace with the gateway as parent", async () => {
    shop.received.length = 0;
    const trace = "0af7651916cd43dd8448eb211c80319c";
    await post(
      gateway,
      { query: "{ products(first: 3) { name } }" },
      {
        "x-tenant": "acme",
        authorization: "Bearer theirs",
        "x-other": "no",
        traceparent: `00-${trace}-b7ad6b7169203331-01`,
      },
    );
    expect(shop.received[0]).toMatchObject({ "x-tenant": "acme", authorization: "Bearer theirs" });
    expect(shop.received[0]?.["x-other"]).toBeUndefined();
    expect(shop.received[0]?.["traceparent"]).toMatch(new RegExp(`^00-${trace}-(?!b7ad6b7169203331)[0-9a-f]{16}-01$`));
  });

  test("what a subgraph says of its inner workings is kept from clients; path and code are not", async () => {
    const { data, errors, status } = await post(gateway, { query: "{ broken }" });
    expect(status).toBe(200);
    expect(data).toEqual({ broken: null });
    expect(errors).toHaveLength(1);
    expect(errors?.[0]).toMatchObject({
      path: ["broken"],
      extensions: { code: "INTERNAL_SERVER_ERROR", service: "products" },
    });
    expect(errors?.[0]?.message).not.toContain("10.0.0.7");
    expect(errors?.[0]?.extensions["requestId"]).toBeTypeOf("string");
  });

  test("an operation over a limit is refused with the limit and the value found, by HTTP and on a socket alike", async () => {
    const cases: [query: string, limit: string, found: number | null][] = [
      [`{ products { ${"reviews { ".repeat(31)} body ${"}".repeat(31)} } }`, "depth", 31],
      [`{ ${Array.from({ length: 201 }, (_, i) => `a${i}: __typename`).join(" ")} }`, "aliases", 201],
      [`{ products { upc ${"__typename ".repeat(15_000)} } }`, "tokens", null],
      [`{ __typename ${"@skip(if: false) ".repeat(501)} }`, "directives", 501],
      [`{ ${Array.from({ length: 101 }, (_, i) => `a${i}: __typename`).join(" ")} }`, "rootFields", 101],
      ["{ expensive }", "cost", 5_000_000],
      ["{ products(first: 1000000) { upc reviews { body } } }", "cost", 11_000_000],
    ];
    const client = connect(gateway);
    for (const [query, limit, found] of cases) {
      const expected = { code: "OPERATION_LIMIT_EXCEEDED", limit, found };
      const { status, data, errors } = await post(gateway, { query }, { accept: "application/graphql-response+json" });
      expect([status, data, errors?.[0]?.extensions]).toEqual([400, undefined, expect.objectContaining(expected)]);
      expect(await refusalOn(client, query)).toEqual([
        expect.objectContaining({ extensions: expect.objectContaining(expected) }),
      ]);
    }
  });

  test("cost counts what variables ask for", async () => {
    const query = "query ($n: Int) { products(first: $n) { upc reviews { body } } }";
    expect((await post(gateway, { query, variables: { n: 5 } })).data?.["products"]).toHaveLength(5);
    expect((await post(gateway, { query, variables: { n: 1_000_000 } })).errors?.[0]?.extensions).toMatchObject({
      limit: "cost",
    });
  });

  test("the introspection that tools send is within the limits", async () => {
    const query = getIntrospectionQuery({ inputValueDeprecation: true, specifiedByUrl: true, schemaDescription: true });
    expect((await post(gateway, { query })).errors).toBeUndefined();
  });

  test("lists of operations are refused unless allowed", async () => {
    const { status, errors } = await post(gateway, [{ query: PRODUCTS }, { query: PRODUCTS }]);
    expect(status).toBe(400);
    expect(errors?.[0]?.extensions).toMatchObject({ limit: "batch", max: 0, found: 2 });
  });

  test("persisted queries: unknown, registered with the text, then by the hash alone, by GET too", async () => {
    const query = "{ products(first: 1) { upc } }";
    const sha256Hash = createHash("sha256").update(query).digest("hex");
    const extensions = { persistedQuery: { version: 1, sha256Hash } };
    const unknown = await post(gateway, { extensions });
    expect([unknown.status, unknown.errors?.[0]?.message]).toEqual([200, "PersistedQueryNotFound"]);
    expect(unknown.errors?.[0]?.extensions["code"]).toBe("PERSISTED_QUERY_NOT_FOUND");
    const data = { products: [{ upc: "p0" }] };
    expect((await post(gateway, { query, extensions })).data).toEqual(data);
    expect((await post(gateway, { extensions })).data).toEqual(data);
    const url = `${gateway.url}/graphql?extensions=${encodeURIComponent(JSON.stringify(extensions))}`;
    expect(await (await fetch(url)).json()).toEqual({ data });
    const forged = { persistedQuery: { version: 1, sha256Hash: "0".repeat(64) } };
    expect((await post(gateway, { query, extensions: forged })).errors?.[0]?.extensions["code"]).toBe("BAD_USER_INPUT");
  });

  test("a mutation by GET is 405 and runs nothing", async () => {
    const answer = await fetch(`${gateway.url}/graphql?query=${encodeURIComponent('mutation { sell(upc: "p1") }')}`);
    expect([answer.status, answer.headers.get("allow")]).toEqual([405, "POST"]);
  });

  test("metrics name operations and time fetches", async () => {
    await post(gateway, { query: "query Named { products(first: 4) { upc } }" });
    expect((await fetch(`${gateway.url}/metrics`)).status).toBe(401);
    const metrics = await (
      await fetch(`${gateway.url}/metrics`, { headers: { authorization: `Bearer ${METRICS_TOKEN}` } })
    ).text();
    expect(metrics).toMatch(/graphql_operation_seconds_count\{operation="Named",hash="[0-9a-f]{16}",outcome="ok"\} 1/);
    expect(metrics).toMatch(/graphql_subgraph_fetch_duration_seconds_count\{subgraph="products",outcome="ok"\} [1-9]/);
  });

  test("the plan is for administrators, and nobody is one here", async () => {
    expect((await post(gateway, { query: PRODUCTS }, { "x-toolyard-plan": "1" })).status).toBe(401);
  });

  test("browsers get a page that loads nothing from elsewhere", async () => {
    const page = await fetch(`${gateway.url}/graphql`, { headers: { accept: "text/html,*/*;q=0.8" } });
    const html = await page.text();
    expect(page.headers.get("content-security-policy")).toContain("default-src 'none'");
    const assets = [...html.matchAll(/(?:src|href)="(?!data:)([^"]+)"/g)].map(([, url = ""]) => new URL(url, page.url));
    expect(assets.length).toBeGreaterThan(5);
    for (const asset of assets) {
      expect(asset.href).toContain(`${gateway.url}/graphql/assets/`);
      expect([asset.href, (await fetch(asset)).status]).toEqual([asset.href, 200]);
    }
    expect((await fetch(`${gateway.url}/graphql/assets/../../package.json`)).status).toBe(404);
  });

  test("@authenticated and @requiresScopes refuse the anonymous", async () => {
    const { data, errors } = await post(gateway, { query: "{ secret scoped products(first: 1) { upc } }" });
    expect(data?.["secret"] ?? null).toBeNull();
    expect(errors?.length).toBeGreaterThan(0);
  });
});

describe("a changed supergraph", () => {
  test("is put into service while operations run; a broken one is refused and said", async () => {
    await using gateway = await startGateway(shop.supergraph());
    const running = post(gateway, { query: "{ slow(ms: 1500) }" });
    expect((await post(gateway, { query: "{ products { colour } }" })).errors).toBeDefined();
    await gateway.replaceSupergraph(shop.supergraph({ products: "extend type Product { colour: String }" }));
    await eventually("the new field", async () => (await post(gateway, { query: "{ products { colour } }" })).data);
    expect((await running).data).toEqual({ slow: "done" });

    await gateway.replaceSupergraph("type Query {");
    await eventually("the refusal in the log", () => gateway.output().includes("is refused"));
    expect((await post(gateway, { query: "{ products(first: 1) { colour } }" })).data).toEqual({
      products: [{ colour: "red" }],
    });
  });

  test("subscriptions go on, each event once and in order; one that is no longer allowed ends with the reason", async () => {
    await using gateway = await startGateway(shop.supergraph());
    const client = connect(gateway);
    const seen: string[] = [];
    const ended = Promise.withResolvers<unknown>();
    client.subscribe<{ productSold: { sequence: string } }>(
      { query: 'subscription { productSold(after: "0") { sequence product { name reviews { body } } } }' },
      {
        next: ({ data, errors }) => (errors ? ended.resolve(errors) : seen.push(data?.productSold.sequence ?? "")),
        error: (error) => ended.resolve(error),
        complete: () => ended.resolve("complete"),
      },
    );
    const publish = (n: number) => {
      for (let i = 0; i < n; i++) shop.publish();
    };
    publish(3);
    await eventually("the first events", () => seen.length === 3);
    await gateway.replaceSupergraph(shop.supergraph({ products: "extend type Product { colour: String }" }));
    await eventually("the swap", async () => (await post(gateway, { query: "{ products { colour } }" })).data);
    publish(3);
    await eventually("events after an unrelated change", () => seen.length === 6);
    // `name` comes from elsewhere now, so the subscription is planned anew.
    const moved = shop.supergraph().replaceAll(/http:\/\/127\.0\.0\.1:(\d+)\//g, "http://localhost:$1/");
    await gateway.replaceSupergraph(`${moved}\n# moved`);
    publish(1);
    await eventually("a new stream in the old one's place", () => seen.length === 7);
    publish(3);
    await eventually("events after the move", () => seen.length === 10);
    expect(seen).toEqual(Array.from({ length: 10 }, (_, i) => String(i + 1)));

    await gateway.replaceSupergraph(shop.supergraph({ removeSubscription: true }));
    expect(await ended.promise).toMatchObject([
      {
        message: expect.stringContaining("has changed"),
        extensions: { code: "SUBSCRIPTION_SCHEMA_CHANGED", lastSequence: "10" },
      },
    ]);
    await eventually("nothing is left open", () => {
      // A generator hears of its end when it wakes.
      shop.publish();
      return shop.subscribers() === 0;
    });
  });
});

describe("protection by configuration", () => {
  test("introspection off: by HTTP, on sockets, and no page", async () => {
    await using gateway = await startGateway(shop.supergraph(), { INTROSPECTION: "false" });
    const { errors } = await post(gateway, { query: "{ __schema { types { name } } }" });
    expect(errors?.[0]?.extensions["code"]).toBe("INTROSPECTION_DISABLED");
    const refused = await refusalOn(connect(gateway), "{ __schema { types { name } } }");
    expect(refused[0]?.extensions).toMatchObject({ code: "INTROSPECTION_DISABLED" });
    expect((await post(gateway, { query: "{ __typename }" })).data).toEqual({ __typename: "Query" });
    const page = await fetch(`${gateway.url}/graphql`, { headers: { accept: "text/html" } });
    expect(page.status).not.toBe(200);
  });

  test("rates and numbers at once are counted for each caller, bodies and time are bounded, lists are allowed", async () => {
    await using gateway = await startGateway(shop.supergraph(), {
      RATE_LIMIT_OPERATIONS_PER_MINUTE: "40",
      MAX_CONCURRENT_OPERATIONS: "1",
      MAX_CONCURRENT_SUBSCRIPTIONS: "1",
      MAX_BODY_BYTES: "2000",
      REQUEST_TIMEOUT_MS: "400",
      BATCH_LIMIT: "2",
    });
    const late = await post(gateway, { query: "{ slow(ms: 5000) }" });
    expect(late.errors?.[0]?.extensions["code"]).toBe("TIMEOUT");

    const [one, two] = await Promise.all([1, 2].map((n) => post(gateway, { query: `{ slow(ms: ${200 + n}) }` })));
    expect(new Set([one?.status, two?.status])).toEqual(new Set([200, 429]));

    const large = await post(gateway, { query: `{ products { upc } } # ${"x".repeat(2_000)}` });
    expect([large.status, large.errors?.[0]?.extensions["code"]]).toEqual([413, "PAYLOAD_TOO_LARGE"]);

    const batch = await fetch(`${gateway.url}/graphql`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify([{ query: "{ __typename }" }]),
    });
    expect(await batch.json()).toEqual([{ data: { __typename: "Query" } }]);
    expect((await post(gateway, [1, 2, 3])).errors?.[0]?.extensions).toMatchObject({
      limit: "batch",
      max: 2,
      found: 3,
    });

    const client = connect(gateway);
    const first = client.iterate({ query: "subscription { productSold { sequence } }" });
    void first.next();
    await eventually("the subscription", () => shop.subscribers() === 1);
    const refused = await refusalOn(client, "subscription { productSold { sequence product { upc } } }");
    expect(refused[0]?.extensions).toMatchObject({ code: "RATE_LIMITED", limit: "concurrent subscriptions", max: 1 });
    await first.return?.();

    const limited = await eventually("the rate's limit", async () => {
      const answer = await post(gateway, { query: "{ __typename }" });
      return answer.status === 429 ? answer : null;
    });
    expect(Number(limited.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(limited.errors?.[0]?.extensions).toMatchObject({
      code: "RATE_LIMITED",
      limit: "operationsPerMinute",
      max: 40,
    });
  });

  test("safelist: the file's operations by text and by id, and no other, on sockets too", async () => {
    const folder = await mkdtemp(join(tmpdir(), "toolyard-safelist-"));
    const file = join(folder, "operations.json");
    const body = "query Listed { products(first: 1) { upc } }";
    const sold = "subscription Sold { productSold { sequence } }";
    await writeFile(
      file,
      JSON.stringify({
        format: "apollo-persisted-query-manifest",
        version: 1,
        operations: [
          { id: "listed", name: "Listed", type: "query", body },
          { id: "sold", name: "Sold", type: "subscription", body: sold },
        ],
      }),
    );
    await using gateway = await startGateway(shop.supergraph(), { PERSISTED_OPERATIONS: file, SAFELIST: "true" });
    const data = { products: [{ upc: "p0" }] };
    expect((await post(gateway, { query: body })).data).toEqual(data);
    expect((await post(gateway, { id: "listed" })).data).toEqual(data);
    expect((await post(gateway, { query: "{ products { upc } }" })).errors?.[0]?.extensions["code"]).toBe(
      "PERSISTED_QUERY_NOT_IN_LIST",
    );
    const refused = await refusalOn(connect(gateway), "{ products { upc } }");
    expect(refused[0]?.extensions).toMatchObject({ code: "PERSISTED_QUERY_NOT_IN_LIST" });
    // A browser's EventSource that connects again: its text becomes another one here.
    const before = shop.published();
    shop.publish();
    shop.publish();
    const leaving = new AbortController();
    const stream = await fetch(`${gateway.url}/graphql?query=${encodeURIComponent(sold)}`, {
      headers: { accept: "text/event-stream", "last-event-id": String(before + 1) },
      signal: leaving.signal,
    });
    let received = "";
    for await (const chunk of stream.body ?? []) {
      received += Buffer.from(chunk).toString();
      if (received.includes("data: {")) break;
    }
    leaving.abort();
    expect(received).toContain(`"sequence":"${before + 2}"`);
    await rm(folder, { recursive: true });
  });

  test("slow operations are logged with their plan, and the plan is shown where it may be", async () => {
    await using gateway = await startGateway(shop.supergraph(), { SLOW_OPERATION_MS: "100", EXPOSE_PLANS: "true" });
    await post(gateway, { query: "query Slow { slow(ms: 150) }" });
    const line = await eventually("the log", () =>
      gateway
        .output()
        .split("\n")
        .find((text) => text.includes("slow operation")),
    );
    expect(JSON.parse(line)).toMatchObject({
      operation: "Slow",
      fetches: [{ subgraph: "products" }],
      plan: { node: { kind: "Fetch" } },
    });
    const { extensions } = await post(gateway, { query: PRODUCTS }, { "x-toolyard-plan": "1" });
    expect(JSON.stringify(extensions?.["plan"])).toContain("reviews");
  });

  test("a wrong variable, or a file that is not there, stops the start with what to do", async () => {
    await expect(startGateway(shop.supergraph(), { MAX_DEPTH: "deep" })).rejects.toThrow(
      /MAX_DEPTH: must be a whole number/,
    );
    await expect(startGateway(shop.supergraph(), { SAFELIST: "true" })).rejects.toThrow(/PERSISTED_OPERATIONS/);
    await expect(startGateway(shop.supergraph(), { PERSISTED_OPERATIONS: "./nowhere.json" })).rejects.toThrow(
      /PERSISTED_OPERATIONS: .*nowhere/,
    );
    await expect(startGateway("")).rejects.toThrow(/is empty/);
    const withoutUrl = shop.supergraph().replace(/url: "http:[^"]*"/, 'url: ""');
    await expect(startGateway(withoutUrl)).rejects.toThrow(/no usable URL for its subgraph "products".*SUBGRAPH_URLS/s);
  });

  test("a supergraph or an address that cannot be used stops it, told without a stack", async () => {
    const refusal = (...given: Parameters<typeof startGateway>) =>
      startGateway(...given).then(
        async (gateway) => {
          await gateway[Symbol.asyncDispose]();
          return "it started";
        },
        (error: unknown) => String(error),
      );
    const whole = shop.supergraph();
    const told = [
      await refusal("\u0001"),
      await refusal(whole.slice(0, whole.indexOf("type Query"))),
      await refusal(whole, { HOST: "192.0.2.1" }),
    ];
    expect(told[0]).toMatch(/The supergraph is not GraphQL: Syntax Error: .*line 1, column 1/);
    expect(told[1]).toMatch(/The supergraph cannot be used: /);
    expect(told[2]).toMatch(/HOST: this machine has no address 192\.0\.2\.1 to listen on/);
    for (const text of told) expect(text).not.toMatch(/\n +at /);
  });
});

test("with JWKS_URL bearer tokens are verified, and the anonymous still served", async () => {
  const { privateKey, publicKey } = await generateKeyPair("ES256");
  const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: "k1", alg: "ES256" }] };
  const issuer = createServer((_request, response) => response.end(JSON.stringify(jwks)));
  await new Promise<void>((resolve) => issuer.listen(0, "127.0.0.1", resolve));
  // A TCP server's address is never a pipe's string.
  const { port } = issuer.address() as AddressInfo;
  const tokenOf = (claims: Record<string, unknown>, audience = "shop") =>
    new SignJWT({ sub: "ada", ...claims })
      .setProtectedHeader({ alg: "ES256", kid: "k1" })
      .setIssuer("https://issuer.example")
      .setAudience(audience)
      .setExpirationTime("5m")
      .sign(privateKey);
  await using gateway = await startGateway(shop.supergraph(), {
    JWKS_URL: `http://127.0.0.1:${port}/jwks.json`,
    JWT_ISSUER: "https://issuer.example",
    JWT_AUDIENCE: "shop",
  });
  try {
    const ask = async (token: string | null) =>
      post(gateway, { query: "{ secret scoped }" }, token === null ? {} : { authorization: `Bearer ${token}` });
    expect((await post(gateway, { query: PRODUCTS })).data).toEqual(products);
    expect((await ask(await tokenOf({ scope: "read:secrets other" }))).data).toEqual({ secret: "s", scoped: "s" });
    const unscoped = await ask(await tokenOf({}));
    expect(unscoped.data).toMatchObject({ secret: "s", scoped: null });
    for (const bad of [await tokenOf({}, "elsewhere"), "nonsense", `${await tokenOf({})}x`]) {
      const { status, errors } = await ask(bad);
      expect([status, errors?.[0]?.extensions["code"]]).toEqual([401, "UNAUTHENTICATED"]);
    }
  } finally {
    await new Promise((resolve) => issuer.close(resolve));
  }
});

test("SIGTERM lets running operations end, and the process with 0", async () => {
  await using gateway = await startGateway(shop.supergraph());
  const before = shop.received.length;
  const running = post(gateway, { query: "{ slow(ms: 700) }" });
  await eventually("the operation under way", () => shop.received.length > before);
  const stopped = gateway.stop();
  expect((await running).data).toEqual({ slow: "done" });
  expect(await stopped).toBe(0);
});
