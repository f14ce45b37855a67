import { once } from "node:events";
import { createRequire } from "node:module";
import { connect } from "node:net";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Trace } from "@apollo/usage-reporting-protobuf";
import type * as graphql from "graphql";
import { createClient } from "graphql-ws";
import { WebSocket } from "ws";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createServiceCaller, createUserCaller } from "@toolyard/service-kit/identity/caller.ts";
import { createLogger } from "@toolyard/service-kit/process/log.ts";
import { serveSubgraph, type SubgraphServer } from "./subgraph-server.ts";
import type { RequestContext } from "@toolyard/service-kit/graph/subgraph.ts";
import { CALLER_HEADER, createCallerHeaderVerifier, createTokenSigner } from "@toolyard/service-kit/identity/tokens.ts";

// As in @toolyard/testing: a schema is only good with the copy of graphql that made it.
const { buildSchema } = createRequire(import.meta.url)("graphql") as typeof graphql;

const secretKey = "s".repeat(40);
const signer = createTokenSigner({ secretKey });
const METRICS_TOKEN = "a-token-for-scrapers";
const JSON_TYPE = { "content-type": "application/json" };
const seen: RequestContext[] = [];

/** What each operation warns of. */
let warning: string | null = null;
/** By mutations. */
const written: string[] = [];
const logged: string[] = [];
/** What happens when a request has been read. */
let onContext: (() => void) | null = null;
let server: SubgraphServer;
let port: number;
beforeAll(async () => {
  const schema = buildSchema(
    "type Query { text(of: String): String broken: String } input Input { text: String } type Mutation { write(input: Input): String } type Subscription { text: String }",
  );
  const broken = schema.getQueryType()?.getFields()["broken"];
  if (broken) broken.resolve = () => Promise.reject(new Error("the password is swordfish"));
  const write = schema.getMutationType()?.getFields()["write"];
  if (write)
    write.resolve = (_source, { input }: { input?: { text: string } }) => {
      written.push(input?.text ?? "");
      return input?.text;
    };
  const text = schema.getSubscriptionType()?.getFields()["text"];
  if (text)
    text.subscribe = async function* () {
      yield { text: "one" };
      yield { text: "two" };
    };
  server = await serveSubgraph({
    subgraph: {
      name: "tools",
      schema,
      createContext(request) {
        seen.push(request);
        onContext?.();
        if (warning !== null) request.warn?.(warning);
        return {};
      },
      start: async () => undefined,
      health: async () => [],
      gauges: async () => [{ name: "texts", help: "Texts.", labels: { of: "one" }, value: 7 }],
      close: async () => undefined,
    },
    host: "127.0.0.1",
    port: 0,
    verifyCaller: createCallerHeaderVerifier({ secretKeys: [secretKey], audience: "tools" }),
    metricsToken: METRICS_TOKEN,
    logger: createLogger({ level: "warn", name: "test", destination: { write: (line) => void logged.push(line) } }),
  });
  port = Number(new URL(server.url).port);
});
afterAll(() => server.close());

const signedFor = async (audience: string, isMutation = false) => {
  const about = { clientAddress: "192.0.2.7", isMutation };
  return { [CALLER_HEADER]: await signer.callerHeader(createUserCaller("u1", "VIEWER"), audience, about) };
};
async function ask(headers: Record<string, string>, query = "{ text }"): Promise<{ status: number; text: string }> {
  const response = await fetch(server.url, { method: "POST", headers, body: JSON.stringify({ query }) });
  return { status: response.status, text: await response.text() };
}

/** The first line of the answer to who wants a WebSocket. */
const upgrade = (caller = "") =>
  firstLineOf(
    `GET /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n${caller}\r\n`,
  );

/** The first line of what comes back for bytes. */
async function firstLineOf(bytes: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  socket.write(bytes);
  const [chunk] = (await once(socket, "data")) as [Buffer];
  socket.destroy();
  return chunk.toString("latin1").split("\r\n", 1)[0] ?? "";
}
const body = '{"query":"{ text }"}';
const post = (headers: string, sent = body) =>
  `POST /graphql HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: ${sent.length}\r\n${headers}\r\n${sent}`;

test("a mutation that is read when nobody waits for its answer any more is not begun", async () => {
  const caller = `${CALLER_HEADER}: ${(await signedFor("tools", true))[CALLER_HEADER]}\r\nHost: localhost\r\n`;
  const mutation = (text: string) => JSON.stringify({ query: `mutation { write(input: { text: "${text}" }) }` });
  const ended = () => logged.filter((line) => line.includes("was not begun"));
  // As by a gateway that gave up while this process was stopped: the connection's end is read after the request.
  const socket = connect(port, "127.0.0.1");
  onContext = () => void socket.destroy();
  socket.write(post(caller, mutation("late")));
  await expect.poll(ended).toHaveLength(1);
  onContext = null;
  expect(await firstLineOf(post(caller, mutation("in time")))).toBe("HTTP/1.1 200 OK");
  expect(written).toEqual(["in time"]);
  // It is no fault of this part.
  expect(logged.join()).not.toContain("stack");
});

test("a caller whom the gateway signed for this subgraph is told to it, with where they come from", async () => {
  expect(await ask({ ...JSON_TYPE, ...(await signedFor("tools")) })).toMatchObject({ status: 200 });
  expect(seen.at(-1)).toMatchObject({ caller: { userId: "u1" }, clientAddress: "192.0.2.7" });
});

test("what a resolver warns of is in the response's extensions", async () => {
  const answer = await ask({ ...JSON_TYPE, ...(await signedFor("tools")) }, "{ text }");
  expect(JSON.parse(answer.text)).toEqual({ data: { text: null } });
  warning = "Look out.";
  const warned = await ask({ ...JSON_TYPE, ...(await signedFor("tools")) }, "{ text }");
  warning = null;
  expect(JSON.parse(warned.text)).toEqual({ data: { text: null }, extensions: { warnings: ["Look out."] } });
});

const TRACED = { ...JSON_TYPE, "apollo-federation-include-trace": "ftv1" };

test("a gateway that asks for it gets a federated trace, without what errors say of inner workings", async () => {
  const { text } = await ask({ ...TRACED, ...(await signedFor("tools")) }, "{ text broken }");
  const { ftv1 } = (JSON.parse(text) as { extensions: { ftv1: string } }).extensions;
  const { root } = Trace.decode(Buffer.from(ftv1, "base64"));
  expect(root?.child?.map(({ responseName }) => responseName)).toEqual(["text", "broken"]);
  expect(root?.child?.[1]?.error).toHaveLength(1);
  expect(text + Buffer.from(ftv1, "base64").toString("latin1")).not.toContain("swordfish");
});

test("strangers get no trace", async () => {
  expect(await ask(TRACED)).toEqual({ status: 200, text: '{"data":{"text":null}}' });
});

test("an error says its code and the request's id, and of inner workings nothing", async () => {
  for (const [query, code] of [
    ["{ broken }", "INTERNAL_SERVER_ERROR"],
    ["{ nothing }", "GRAPHQL_VALIDATION_FAILED"],
    ["{ text", "GRAPHQL_PARSE_FAILED"],
    ["query A { text } query B { text }", "OPERATION_RESOLUTION_FAILURE"],
  ] as const) {
    const { status, text } = await ask({ ...JSON_TYPE, ...(await signedFor("tools")) }, query);
    expect(status).toBe(200);
    const { errors } = JSON.parse(text) as { errors: { extensions: object }[] };
    expect(errors).toHaveLength(1);
    expect(errors[0]?.extensions).toEqual({ code, requestId: expect.any(String) });
    expect(text).not.toContain("swordfish");
  }
});

test("each event of a subscription is resolved in a context of its own, by the same caller", async () => {
  seen.length = 0;
  const headers = await signedFor("tools");
  class SignedSocket extends WebSocket {
    constructor(url: string, protocol: string) {
      super(url, protocol, { headers });
    }
  }
  const client = createClient({ url: server.url.replace("http", "ws"), webSocketImpl: SignedSocket, retryAttempts: 0 });
  const told: unknown[] = [];
  for await (const answer of client.iterate({ query: "subscription { text }" })) told.push(answer.data);
  await client.dispose();
  expect(told).toEqual([{ text: "one" }, { text: "two" }]);
  // One to subscribe, one for each event.
  expect(seen.map(({ caller }) => caller.userId)).toEqual(["u1", "u1", "u1"]);
});

test("one signed for another part is refused, as what is not signed by Toolyard is", async () => {
  for (const audience of ["identity", "gateway"])
    expect(await ask({ ...JSON_TYPE, ...(await signedFor(audience)) })).toMatchObject({ status: 401 });
  expect(await ask({ ...JSON_TYPE, [CALLER_HEADER]: "x.y.z" })).toMatchObject({ status: 401 });
});

test("one that is right but for its time is no fault of the caller's: the clocks of two hosts differ", async () => {
  const later = createTokenSigner({ secretKey, now: () => Date.now() + 7_200_000 });
  const header = await later.callerHeader(createUserCaller("u1", "VIEWER"), "tools");
  const answer = await ask({ ...JSON_TYPE, [CALLER_HEADER]: header });
  expect(answer.status).toBe(503);
  expect(JSON.parse(answer.text)).toMatchObject({
    errors: [{ message: expect.stringMatching(/7[12]\d\d s apart/), extensions: { code: "UPSTREAM_UNAVAILABLE" } }],
  });
  expect(await upgrade(`${CALLER_HEADER}: ${header}\r\n`)).toMatch(/ 503 /);
});

test("its health says what time it is there", async () => {
  expect((await fetch(new URL("/health/live", server.url))).status).toBe(200);
  const response = await fetch(new URL("/health", server.url));
  const { timestamp } = (await response.json()) as { timestamp: string };
  expect(Math.abs(Date.parse(timestamp) - Date.now())).toBeLessThan(60_000);
});

test("a header that was signed for a query is good for no mutation", async () => {
  for (const query of ["mutation { write }", "mutation A { write } query B { text }"]) {
    expect(await ask({ ...JSON_TYPE, ...(await signedFor("tools")) }, query)).toMatchObject({
      status: query.includes("B") ? 200 : 401,
    });
    expect(await ask({ ...JSON_TYPE, ...(await signedFor("tools", true)) }, query)).toMatchObject({ status: 200 });
  }
});

test("who comes past the gateway is anonymous and comes from where the connection comes from", async () => {
  expect(await ask({ ...JSON_TYPE, "x-forwarded-for": "192.0.2.9", x_toolyard_caller: "x" })).toMatchObject({
    status: 200,
  });
  expect(seen.at(-1)).toMatchObject({ caller: { kind: "anonymous" }, clientAddress: "127.0.0.1" });
});

test.each([
  ["a form's body", { "content-type": "text/plain" }, 415],
  ["a body of no type", { "content-type": "" }, 415],
  ["a compressed body", { ...JSON_TYPE, "content-encoding": "gzip" }, 415],
  ["another site's page", { ...JSON_TYPE, origin: "https://evil.example" }, 403],
  ["another site's page that says nothing of its origin", { ...JSON_TYPE, "sec-fetch-site": "cross-site" }, 403],
])("%s is refused", async (_what, headers, status) => {
  expect((await ask(headers)).status).toBe(status);
});

test("a name that leads here by rebinding is refused, but not to the gateway", async () => {
  const { [CALLER_HEADER]: signed } = await signedFor("tools");
  expect(await firstLineOf(post("Host: evil.example\r\n"))).toMatch(/403/);
  expect(await firstLineOf(post(`Host: tools:4002\r\n${CALLER_HEADER}: ${signed}\r\n`))).toMatch(/200/);
});

test.each([
  ["two hosts", "Host: localhost\r\nHost: localhost\r\n"],
  ["two hosts that differ in spelling", "Host: localhost\r\nhOST: evil.example\r\n"],
  ["two callers", `Host: localhost\r\n${CALLER_HEADER}: a\r\n${CALLER_HEADER.toUpperCase()}: b\r\n`],
  ["two credentials", "Host: localhost\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n"],
  ["two lengths", "Host: localhost\r\nContent-Length: 20\r\n"],
  ["a length and chunks", "Host: localhost\r\nTransfer-Encoding: chunked\r\n"],
  ["no host", ""],
])("%s are 400", async (_what, headers) => {
  expect(await firstLineOf(post(headers))).toMatch(/^HTTP\/1\.1 400 /);
});

test("of strangers' documents little is read, nothing of the schema is told, and a subscription is not begun", async () => {
  expect(await ask(JSON_TYPE, `{ text(of: "${"x".repeat(70_000)}") }`)).toMatchObject({ status: 413 });
  expect((await ask(JSON_TYPE, `{ ${"text ".repeat(2_000)} }`)).text).toContain("tokens");
  expect((await ask(JSON_TYPE, "{ __schema { types { name } } }")).text).toContain("introspection");
  expect(await upgrade()).toMatch(/ 401 /);
  expect(await upgrade(`${CALLER_HEADER}: x\r\n`)).toMatch(/ 401 /);
  expect(await upgrade(`${CALLER_HEADER}: ${(await signedFor("tools"))[CALLER_HEADER]}\r\n`)).toMatch(/ 101 /);
});

test("what is wrong with variables is told once, not over and over with all that was sent", async () => {
  const fields = Object.fromEntries(Array.from({ length: 4_000 }, (_, n) => [`a${n}`, 1]));
  const sent = JSON.stringify({
    query: "mutation ($input: Input) { write(input: $input) }",
    variables: { input: fields },
  });
  const response = await fetch(server.url, { method: "POST", headers: JSON_TYPE, body: sent });
  const text = await response.text();
  expect(text).toContain("is not defined by type");
  expect(text.length).toBeLessThan(3 * sent.length);
});

test("documents fill no memory, whoever sends them", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const heap = () => {
    collect();
    return process.memoryUsage().heapUsed;
  };
  const flood = async (headers: Record<string, string>) => {
    for (let n = 0; n < 200; n++) await ask(headers, `{ text(of: "${String(n).padEnd(60_000, "x")}") }`);
  };
  const before = heap();
  await flood(JSON_TYPE);
  expect((heap() - before) / 1e6).toBeLessThan(10);
  // 12 MB of text, of which the last four million characters may stay.
  await flood({ ...JSON_TYPE, ...(await signedFor("tools")) });
  expect((heap() - before) / 1e6).toBeLessThan(15);
});

test("metrics are for scrapers with the token, and as plain counts for the gateway", async () => {
  const metricsUrl = server.url.replace("graphql", "metrics");
  const as = async (headers: Record<string, string>) => {
    const response = await fetch(metricsUrl, { headers });
    return { status: response.status, text: await response.text() };
  };
  expect((await as({})).status).toBe(401);
  expect((await as({ authorization: "Bearer another" })).status).toBe(401);
  expect((await as({ authorization: `Bearer ${METRICS_TOKEN}`, origin: "https://evil.example" })).status).toBe(403);
  // Somebody's own header, as the gateway sends it with their queries, is no gateway's.
  expect((await as(await signedFor("tools"))).status).toBe(403);
  const scraped = await as({ authorization: `Bearer ${METRICS_TOKEN}` });
  expect(scraped.text).toContain('# HELP texts Texts.\n# TYPE texts gauge\ntexts{of="one"} 7\n');
  const gateway = createServiceCaller("gateway", ["internal:metrics"]);
  const counts = await as({ [CALLER_HEADER]: await signer.callerHeader(gateway, "tools") });
  expect(JSON.parse(counts.text)).toEqual([{ name: "texts", help: "Texts.", labels: { of: "one" }, value: 7 }]);
});
