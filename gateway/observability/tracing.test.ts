import { eventually } from "@toolyard/testing";
import { createClient } from "graphql-ws";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { startOtlpReceiver, type OtlpReceiver, type ReceivedSpan } from "@toolyard/testing/otlp-receiver.ts";
import { serveShop, startGateway, type RunningGateway, type ServedShop } from "./fixtures/served-shop.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const PARENT = "b7ad6b7169203331";
const HOPS = "query Hops($first: Int) { products(first: $first) { name reviews { body author { name } } } }";

let served: ServedShop;
beforeAll(async () => {
  served = await serveShop();
});
afterAll(async () => {
  await served?.close();
});

let collector: OtlpReceiver;
beforeEach(async () => {
  collector = await startOtlpReceiver();
  served.received.length = 0;
});
const gateways: RunningGateway[] = [];
afterEach(async () => {
  for (const gateway of gateways.splice(0)) await gateway.close();
  await collector.close();
});

async function start(env: Record<string, string> = {}, inProcess = false): Promise<RunningGateway> {
  const gateway = await startGateway(served, {
    inProcess,
    env: { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_BSP_SCHEDULE_DELAY: "20", ...env },
  });
  gateways.push(gateway);
  return gateway;
}

async function post(
  gateway: RunningGateway,
  body: Record<string, unknown>,
  headers: Record<string, string> = {},
): Promise<unknown> {
  const answer = await fetch(`${gateway.url}/graphql`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
  return answer.json();
}

/** The spans that came, once all that the names say have. */
async function spansOnce(...names: string[]): Promise<ReceivedSpan[]> {
  await eventually(`the collector has ${names.join(", ")}`, async () =>
    names.every((name) => collector.spans.some((span) => span.name === name)),
  );
  return collector.spans;
}

function named(name: string): ReceivedSpan {
  const found = collector.spans.filter((span) => span.name === name);
  expect(found.map((span) => span.name)).toEqual([name]);
  return found[0] ?? expect.fail();
}

describe("a request's spans", () => {
  test("are a tree: request, operation, its planning, and each fetch, whose id the subgraph gets", async () => {
    const gateway = await start({ OTEL_RESOURCE_ATTRIBUTES: "deployment.environment.name=a%20test" });
    const began = Date.now();
    await post(gateway, { query: HOPS, variables: { first: 1 } });
    const spans = await spansOnce("POST /graphql");
    const request = named("POST /graphql");
    expect(request).toMatchObject({
      kind: "SERVER",
      parentSpanId: "",
      isError: false,
      attributes: { "http.request.method": "POST", "url.path": "/graphql", "http.response.status_code": 200 },
      resource: { "service.name": "toolyard-gateway", "deployment.environment.name": "a test" },
    });
    const operation = named("query Hops");
    expect(operation).toMatchObject({
      kind: "INTERNAL",
      parentSpanId: request.spanId,
      attributes: { "graphql.operation.name": "Hops", "graphql.operation.type": "query" },
    });
    expect(operation.attributes["graphql.document.hash"]).toMatch(/^[0-9a-f]{16}$/);
    expect(named("plan")).toMatchObject({ kind: "INTERNAL", parentSpanId: operation.spanId });
    for (const subgraph of ["products", "reviews", "users"]) {
      const fetched = named(`fetch ${subgraph}`);
      const { hostname, port, href } = new URL(served.urls.get(subgraph) ?? "");
      expect(fetched).toMatchObject({
        kind: "CLIENT",
        parentSpanId: operation.spanId,
        attributes: {
          "graphql.subgraph.name": subgraph,
          "http.request.method": "POST",
          "http.response.status_code": 200,
          "server.address": hostname,
          "server.port": Number(port),
          "url.full": href,
        },
      });
      const got = served.received.find((received) => received.subgraph === subgraph);
      expect(got?.headers["traceparent"]).toBe(`00-${fetched.traceId}-${fetched.spanId}-01`);
    }
    expect(new Set(spans.map(({ traceId }) => traceId)).size).toBe(1);
    expect(new Set(spans.map(({ spanId }) => spanId)).size).toBe(spans.length);
    for (const span of spans) {
      expect(span.endedAt).toBeGreaterThanOrEqual(span.startedAt);
      expect(span.startedAt).toBeGreaterThanOrEqual(request.startedAt);
      expect(span.endedAt).toBeLessThanOrEqual(request.endedAt);
    }
    expect(Number(request.startedAt / 1_000_000n)).toBeGreaterThanOrEqual(began);
    expect(Number(request.startedAt / 1_000_000n)).toBeLessThanOrEqual(Date.now());
  });

  test("have no planning where the plan was known", async () => {
    const gateway = await start();
    await post(gateway, { query: HOPS });
    await spansOnce("POST /graphql");
    collector.spans.length = 0;
    await post(gateway, { query: HOPS });
    expect((await spansOnce("POST /graphql")).map(({ name }) => name)).not.toContain("plan");
  });

  test("go on with the client's trace, and what other systems say of it goes on to subgraphs", async () => {
    // Asking for them to be forwarded as well does not send them twice.
    const gateway = await start({ FORWARD_HEADERS: "Traceparent,tracestate" });
    const tracestate = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7";
    await post(gateway, { query: "{ me { name } }" }, { traceparent: `00-${TRACE}-${PARENT}-01`, tracestate });
    const spans = await spansOnce("POST /graphql");
    expect(named("POST /graphql")).toMatchObject({ traceId: TRACE, parentSpanId: PARENT, traceState: tracestate });
    expect(spans.every(({ traceId }) => traceId === TRACE)).toBe(true);
    expect(served.received[0]?.headers).toMatchObject({
      traceparent: `00-${TRACE}-${named("fetch users").spanId}-01`,
      tracestate,
    });
  });

  test("have what went wrong, by code, and no values, texts or secrets", async () => {
    const gateway = await start({
      FORWARD_HEADERS: "authorization",
      OTEL_EXPORTER_OTLP_HEADERS: "api-key=hush%20hush",
    });
    await post(
      gateway,
      {
        query: 'query Find($upc: ID!) { product(upc: $upc) { name } other: product(upc: "literal-1") { name } broken }',
        variables: { upc: "variable-1" },
      },
      { authorization: "Bearer token-1", "x-other": "header-1" },
    );
    await fetch(`${gateway.url}/graphql?query=%7Bme%7Bname%7D%7D&variables=%7B%22v%22%3A%22in-url-1%22%7D`, {
      headers: { "apollo-require-preflight": "1" },
    });
    await spansOnce("POST /graphql", "GET /graphql");
    expect(named("fetch products")).toMatchObject({
      isError: true,
      attributes: { "http.response.status_code": 200, "error.type": "INTERNAL_SERVER_ERROR" },
    });
    expect(named("query Find")).toMatchObject({ isError: true, attributes: { "error.type": "INTERNAL_SERVER_ERROR" } });
    expect(named("POST /graphql").isError).toBe(false);
    expect(collector.bytes()).not.toMatch(/literal-1|variable-1|token-1|header-1|in-url-1|hunter2|hush/);
    expect(collector.headers[0]).toMatchObject({
      "api-key": "hush hush",
      "content-type": "application/x-protobuf",
      ":path": "/v1/traces",
    });
    expect(gateway.log.join()).not.toContain("hush");
  });

  test("are there for subgraphs of this process as well", async () => {
    const gateway = await start({ OTEL_SERVICE_NAME: "one-process" }, true);
    await post(gateway, { query: HOPS });
    await spansOnce("POST /graphql");
    expect(named("fetch users")).toMatchObject({
      kind: "INTERNAL",
      parentSpanId: named("query Hops").spanId,
      attributes: { "graphql.subgraph.name": "users" },
      resource: { "service.name": "one-process" },
    });
    expect(named("fetch users").attributes).not.toHaveProperty("server.address");
  });
});

describe("sampling", () => {
  test("leaves out traces of which the client keeps none, and says so to subgraphs", async () => {
    const gateway = await start();
    await post(gateway, { query: "{ me { name } }" }, { traceparent: `00-${TRACE}-${PARENT}-00` });
    await post(gateway, { query: "{ reviews { body } }" });
    const spans = await spansOnce("POST /graphql");
    expect(spans.some(({ traceId }) => traceId === TRACE)).toBe(false);
    expect(served.received[0]?.headers["traceparent"]).toMatch(
      new RegExp(`^00-${TRACE}-(?!${PARENT})[0-9a-f]{16}-00$`),
    );
  });

  test("takes the share of traces that it is told, and those that come sampled", async () => {
    const gateway = await start({ OTEL_TRACES_SAMPLER: "parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG: "0.5" });
    for (let i = 0; i < 60; i++) await post(gateway, { query: "{ me { name } }" });
    await post(gateway, { query: "query Last { me { name } }" }, { traceparent: `00-${TRACE}-${PARENT}-01` });
    const spans = await spansOnce("query Last", "POST /graphql");
    const requests = spans.filter(({ name, traceId }) => name === "POST /graphql" && traceId !== TRACE).length;
    // Outside of these once in ten thousand runs of a fair coin, and less.
    expect(requests).toBeGreaterThan(12);
    expect(requests).toBeLessThan(48);
    const said = served.received.map(({ headers }) => String(headers["traceparent"]).slice(-2));
    expect(new Set(said)).toEqual(new Set(["00", "01"]));
  });
});

describe("a subscription", () => {
  test("has a span for its start and one for each event, which links to it and has the event's fetches", async () => {
    const gateway = await start();
    const client = createClient({
      url: `${gateway.url.replace("http", "ws")}/graphql`,
      webSocketImpl: WebSocket,
      retryAttempts: 0,
    });
    const query = "subscription Watch { productChanged { product { upc reviews { body } } } }";
    const subscribe = () => {
      const seen: unknown[] = [];
      client.subscribe(
        { query },
        { next: (result) => seen.push(result), error: () => undefined, complete: () => undefined },
      );
      return seen;
    };
    const first = subscribe();
    await spansOnce("subscription Watch");
    const begun = named("subscription Watch");
    expect(begun).toMatchObject({
      kind: "SERVER",
      parentSpanId: "",
      attributes: { "graphql.operation.type": "subscription", "graphql.subgraph.name": "products" },
    });
    expect(named("plan").parentSpanId).toBe(begun.spanId);
    await eventually("the subgraph is subscribed", async () => served.received.length > 0);
    expect(served.received[0]?.headers["traceparent"]).toBe(`00-${begun.traceId}-${begun.spanId}-01`);
    const second = subscribe();
    await eventually(
      "the second one has begun, too",
      async () => collector.spans.filter(({ name }) => name === "subscription Watch").length === 2,
    );
    await eventually("events come", async () => {
      served.publish("1");
      return first.length >= 2 && second.length >= 1;
    });
    await spansOnce("subscription Watch event", "fetch reviews");
    const events = collector.spans.filter(({ name }) => name === "subscription Watch event");
    for (const event of events) {
      expect(event).toMatchObject({ kind: "CONSUMER", parentSpanId: "" });
      expect(event.links).toEqual([{ traceId: begun.traceId, spanId: begun.spanId }]);
      expect(event.traceId).not.toBe(begun.traceId);
    }
    expect(new Set(events.map(({ traceId }) => traceId)).size).toBe(events.length);
    const fetched = collector.spans.find(({ name }) => name === "fetch reviews");
    expect(events.map(({ spanId }) => spanId)).toContain(fetched?.parentSpanId);
    await client.dispose();
  });
});

describe("a collector", () => {
  test("that is away takes nothing from requests, and is said once; what came meanwhile is bounded", async () => {
    collector.answerWith(503);
    const gateway = await start({
      OTEL_BSP_MAX_QUEUE_SIZE: "20",
      OTEL_BSP_MAX_EXPORT_BATCH_SIZE: "10",
      OTEL_EXPORTER_OTLP_TIMEOUT: "200",
    });
    for (let i = 0; i < 30; i++) expect(await post(gateway, { query: "{ me { name } }" })).toHaveProperty("data");
    await eventually("several batches were refused", async () => collector.requests() >= 3);
    const said = () => gateway.log.filter((line) => line.includes("collector"));
    expect(said()).toHaveLength(1);
    expect(said()[0]).toContain('"level":"warn"');
    collector.answerWith(200);
    await eventually("it takes traces again", async () => {
      await post(gateway, { query: "{ me { name } }" });
      return said().length === 2;
    });
    expect(said()[1]).toMatch(/"lost_spans":\d+/);
  });

  test("that never answers holds up neither requests nor the end", async () => {
    collector.answerWith("never");
    const gateway = await start({ OTEL_EXPORTER_OTLP_TIMEOUT: "200" });
    for (let i = 0; i < 5; i++) expect(await post(gateway, { query: "{ me { name } }" })).toHaveProperty("data");
    gateways.length = 0;
    await gateway.close();
  });

  test("gets what is left when the gateway ends, compressed where asked", async () => {
    const gateway = await start({ OTEL_BSP_SCHEDULE_DELAY: "60000", OTEL_EXPORTER_OTLP_COMPRESSION: "gzip" });
    await post(gateway, { query: "query Last { me { name } }" });
    expect(collector.spans).toEqual([]);
    gateways.length = 0;
    await gateway.close();
    expect(collector.spans.map(({ name }) => name).sort()).toEqual([
      "POST /graphql",
      "fetch users",
      "plan",
      "query Last",
    ]);
    expect(collector.headers[0]?.["content-encoding"]).toBe("gzip");
  });
});

test.each<Record<string, string>>([
  { OTEL_SDK_DISABLED: "true" },
  { OTEL_TRACES_EXPORTER: "none" },
  { OTEL_EXPORTER_OTLP_ENDPOINT: "" },
])("nothing is recorded with %j", async (env) => {
  const gateway = await start(env);
  await post(gateway, { query: "{ me { name } }" });
  expect(served.received).toHaveLength(1);
  expect(served.received[0]?.headers).not.toHaveProperty("traceparent");
  gateways.length = 0;
  await gateway.close();
  expect(collector.requests()).toBe(0);
});
