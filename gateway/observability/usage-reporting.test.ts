import { createHash } from "node:crypto";
import { ApolloGateway, RemoteGraphQLDataSource } from "@apollo/gateway";
import { ApolloServer } from "@apollo/server";
import { ApolloServerPluginUsageReporting } from "@apollo/server/plugin/usageReporting";
import { startStandaloneServer } from "@apollo/server/standalone";
import { eventually } from "@toolyard/testing";
import { createClient } from "graphql-ws";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { countsOf, startApolloIngress, type ApolloIngress } from "./fixtures/apollo-ingress.ts";
import { serveShop, startGateway, type RunningGateway, type ServedShop } from "./fixtures/served-shop.ts";

const KEY = "service:shop:the-key";
const silent = { debug() {}, info() {}, warn() {}, error() {} };

let served: ServedShop;
let ingress: ApolloIngress;
beforeAll(async () => {
  served = await serveShop();
});
afterAll(async () => {
  await served?.close();
});
beforeEach(async () => {
  ingress = await startApolloIngress(KEY);
});
const gateways: RunningGateway[] = [];
afterEach(async () => {
  for (const gateway of gateways.splice(0)) await gateway.close();
  await ingress.close();
});

async function start(env: Record<string, string> = {}): Promise<RunningGateway> {
  const gateway = await startGateway(served, {
    env: {
      APOLLO_KEY: KEY,
      APOLLO_GRAPH_REF: "shop@test",
      APOLLO_USAGE_REPORTING_INGRESS_URL: ingress.url,
      APOLLO_USAGE_REPORTING_INTERVAL_MS: "60000",
      ...env,
    },
  });
  gateways.push(gateway);
  return gateway;
}

/** Ends the gateway, which sends what it has. */
async function stop(gateway: RunningGateway): Promise<void> {
  gateways.splice(gateways.indexOf(gateway), 1);
  await gateway.close();
}

type Headers = Record<string, string>;

async function post(url: string, body: Record<string, unknown>, headers: Headers = {}): Promise<unknown> {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
  return answer.json();
}

const client = (name: string, version: string): Headers => ({
  "apollographql-client-name": name,
  "apollographql-client-version": version,
});
const persistedQuery = (query: string) => ({
  persistedQuery: { version: 1, sha256Hash: createHash("sha256").update(query).digest("hex") },
});

/** What clients send: the same to both. */
const requests: [body: Record<string, unknown>, headers: Headers][] = (() => {
  const hops = "query Hops($first: Int) { products(first: $first) { upc name reviews { body author { name } } } }";
  const aliased =
    "query Hops($first: Int) { found: products(first: $first) { reviews { author { called: name } body } name upc } }";
  const literals =
    'query Literals { product(upc: "secret-literal") { ...P } } fragment P on Product { price reviews(first: 7) { id } } ';
  const known = "query Known { me { name } }";
  return [
    [{ query: hops, variables: { first: 1 } }, client("web", "1.0")],
    [{ query: hops, variables: { first: 2 } }, client("web", "1.0")],
    [{ query: hops }, client("web", "1.1")],
    [{ query: aliased }, client("ios", "7")],
    [{ query: hops }, {}],
    [{ query: literals }, client("web", "1.0")],
    [{ query: "{ me { name } }" }, {}],
    [{ query: "query A { me { id } } query B { reviews { id } }", operationName: "B" }, {}],
    [{ query: "query Broken { broken }" }, client("web", "1.0")],
    [{ query: "query Broken { broken again: broken me { name } }" }, client("web", "1.0")],
    [{ query: 'mutation Rename { rename(upc: "1", name: "secret-name") { name } }' }, {}],
    [{ extensions: persistedQuery(known) }, client("web", "1.0")],
    [{ query: known, extensions: persistedQuery(known) }, client("web", "1.0")],
    [{ extensions: persistedQuery(known) }, client("web", "1.0")],
    [{ extensions: persistedQuery(known) }, client("web", "1.0")],
    [{ query: "{ me { name }" }, client("web", "1.0")],
    [{ query: "{ nobody }" }, client("web", "1.0")],
    [{ query: "{ nobody nothing }" }, {}],
    [{ query: "query A { me { id } } query B { me { id } }", operationName: "C" }, client("web", "1.0")],
    [{ query: "query Typename { __typename }" }, {}],
  ];
})();

/** Apollo Server with Apollo's gateway and Apollo's plugin, over the same subgraphs. */
async function reportsOfApollo(): Promise<ApolloIngress["reports"]> {
  const gateway = new ApolloGateway({
    supergraphSdl: served.supergraphSdl,
    logger: silent,
    buildService: ({ name }) => new RemoteGraphQLDataSource({ url: served.urls.get(name) ?? "" }),
  });
  const server = new ApolloServer({
    gateway,
    logger: silent,
    apollo: { key: KEY, graphRef: "shop@test" },
    plugins: [
      ApolloServerPluginUsageReporting({
        endpointUrl: ingress.origin,
        sendTraces: false,
        fieldLevelInstrumentation: 0,
        sendReportsImmediately: false,
        reportIntervalMs: 60_000,
      }),
    ],
  });
  const { url } = await startStandaloneServer(server, { listen: { port: 0, host: "127.0.0.1" } });
  for (const [body, headers] of requests) await post(url, body, headers);
  await server.stop();
  return ingress.reports.splice(0);
}

describe("reports", () => {
  test("say the same as those of Apollo Server's own plugin", async () => {
    const theirs = await reportsOfApollo();
    const gateway = await start();
    for (const [body, headers] of requests) await post(`${gateway.url}/graphql`, body, headers);
    await stop(gateway);
    const ours = ingress.reports;
    expect(theirs).toHaveLength(1);
    expect(ours).toHaveLength(1);
    expect(countsOf(ours)).toEqual(countsOf(theirs));
    expect(ours[0]?.operationCount).toBe(theirs[0]?.operationCount);
    expect(ours[0]?.header?.graphRef).toBe(theirs[0]?.header?.graphRef);
    expect(ours[0]?.header?.executableSchemaId).toBe(theirs[0]?.header?.executableSchemaId);
    expect(ours[0]?.header).toMatchObject({
      hostname: theirs[0]?.header?.hostname,
      runtimeVersion: theirs[0]?.header?.runtimeVersion,
      agentVersion: expect.stringMatching(/^@toolyard\/gateway@/),
    });
    expect(Math.abs(Number(ours[0]?.endTime?.seconds) - Number(theirs[0]?.endTime?.seconds))).toBeLessThan(60);
  });

  test("are sent every so often, with no value of a variable or literal, no header and no result in them", async () => {
    const gateway = await start({ APOLLO_USAGE_REPORTING_INTERVAL_MS: "50" });
    for (const [body, headers] of requests) {
      await post(`${gateway.url}/graphql`, body, { ...headers, authorization: "Bearer secret-token" });
    }
    await eventually("a report came", async () => ingress.reports.length > 0);
    const before = ingress.reports.length;
    await post(`${gateway.url}/graphql`, { query: "query Later { me { name } }" });
    await eventually("and another", async () => ingress.reports.length > before);
    expect(ingress.bytes()).toContain("Literals");
    expect(ingress.bytes()).not.toMatch(/secret-|hunter2|Ada|Bearer/);
  });

  test("have errors by the subgraph that made them and the client's path", async () => {
    const gateway = await start();
    await post(`${gateway.url}/graphql`, { query: "query Lengths { products(first: 2) { long: averageLength } }" });
    await stop(gateway);
    const [counts] = Object.values(countsOf(ingress.reports)) as Record<string, unknown>[];
    expect(counts?.["@"]).toMatchObject({
      requestsWithErrorsCount: 1,
      rootErrorStats: {
        errorsCount: 0,
        children: {
          "service:reviews": {
            children: { products: { children: { long: { errorsCount: 2, requestsWithErrorsCount: 1 } } } },
          },
        },
      },
    });
  });

  test("have no introspection, as those of Apollo's Router", async () => {
    const gateway = await start();
    await post(`${gateway.url}/graphql`, {
      query: "query IntrospectionQuery { __schema { queryType { name } } __typename }",
    });
    await post(`${gateway.url}/graphql`, { query: 'query Mixed { __type(name: "Query") { name } me { name } }' });
    await stop(gateway);
    expect(Object.keys(countsOf(ingress.reports))).toEqual(['# Mixed\nquery Mixed{__type(name:""){name}me{name}}']);
  });

  test("have subscriptions, once for each that begins", async () => {
    const gateway = await start();
    const socket = createClient({
      url: `${gateway.url.replace("http", "ws")}/graphql`,
      webSocketImpl: WebSocket,
      retryAttempts: 0,
    });
    let seen = 0;
    for (let i = 0; i < 2; i++) {
      socket.subscribe(
        { query: "subscription Watch { productChanged { product { name } } }" },
        { next: () => seen++, error: () => undefined, complete: () => undefined },
      );
    }
    await eventually("events come", async () => {
      served.publish("1");
      return seen >= 4;
    });
    await socket.dispose();
    await stop(gateway);
    expect(countsOf(ingress.reports)).toMatchObject({
      "# Watch\nsubscription Watch{productChanged{product{name}}}": {
        fields: { Subscription: { fields: ["productChanged"] }, Product: { fields: ["name"] } },
        "@": { requestCount: 2 },
      },
    });
  });
});

describe("an ingress", () => {
  test("that does not know the key is said once, with what to do, and takes nothing from requests", async () => {
    const gateway = await start({ APOLLO_KEY: "service:shop:wrong-key", APOLLO_USAGE_REPORTING_INTERVAL_MS: "20" });
    await eventually("it refused several reports", async () => {
      expect(await post(`${gateway.url}/graphql`, { query: "{ me { name } }" })).toEqual({
        data: { me: { name: "Ada" } },
      });
      return ingress.requests() >= 3;
    });
    const said = gateway.log.filter((line) => line.includes("APOLLO_KEY"));
    expect(said).toHaveLength(1);
    expect(said[0]).toMatch(/Make a key for APOLLO_GRAPH_REF in Studio/);
    expect(gateway.log.join()).not.toContain("wrong-key");
    expect(ingress.reports).toEqual([]);
  });

  test("that fails for a while gets the report again", async () => {
    const gateway = await start();
    await post(`${gateway.url}/graphql`, { query: "{ me { name } }" });
    ingress.answerNext(500, 503);
    await stop(gateway);
    expect(ingress.requests()).toBe(3);
    expect(Object.keys(countsOf(ingress.reports))).toEqual(["# -\n{me{name}}"]);
    expect(gateway.log.join()).not.toContain("cannot be sent");
  });
});

test("nothing is reported without APOLLO_KEY", async () => {
  const gateway = await start({ APOLLO_KEY: "" });
  await post(`${gateway.url}/graphql`, { query: "{ me { name } }" });
  await stop(gateway);
  expect(ingress.requests()).toBe(0);
});
