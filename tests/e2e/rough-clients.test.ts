import { connect } from "node:net";
import { gzipSync } from "node:zlib";
import { createClient } from "graphql-ws";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { startGateway, startShop, type RunningGateway, type Shop } from "./fixtures/shop.ts";

/* Requests as clients send them that Node's own would not. */

let shop: Shop;
let gateway: RunningGateway;
beforeAll(async () => {
  shop = await startShop();
  gateway = await startGateway(shop.supergraph(), { FORWARD_HEADERS: "authorization,x-tenant,x-second" });
});
afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]();
  await shop?.close();
});

/** What comes back for some bytes, until the connection is closed; `then` is sent when the first answer has come. */
function exchange(bytes: string | Buffer, then?: Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(gateway.url).port), "127.0.0.1", () => socket.write(bytes));
    let received = "";
    let next = then;
    socket.setTimeout(5_000, () => socket.destroy(new Error(`No end came after ${JSON.stringify(received)}.`)));
    socket.on("data", (chunk: Buffer) => {
      received += chunk.toString("utf8");
      if (next && received.endsWith("}")) socket.write(next);
      next = undefined;
    });
    socket.on("error", reject);
    socket.on("close", () => resolve(received));
  });
}

const body = '{"query":"{ products(first: 1) { name } }"}';
const host = "Host: localhost\r\n";
const close = "Connection: close\r\n";
function post(headers: string, options: { path?: string; version?: string; sent?: string | Buffer } = {}): Buffer {
  const { path = "/graphql", version = "1.1", sent = body } = options;
  const head = `POST ${path} HTTP/${version}\r\n${headers}Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(sent)}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), Buffer.from(sent)]);
}
const answered = /^HTTP\/1\.1 200 OK\r\n[^]*\{"data":\{"products":\[\{"name":"Product p0"\}\]\}\}$/;

describe("is answered", () => {
  test("a client that offers to go on in HTTP/2, as Java's do with every request", async () => {
    const offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n";
    expect(await exchange(post(host + offer), post(host + close))).toMatch(
      /^HTTP\/1\.1 200 OK\r\n[^]*\]\}\}HTTP\/1\.1 200 OK\r\n/,
    );
    const live = Buffer.from(`GET /health/live HTTP/1.1\r\n${host}${close}\r\n`);
    expect(await exchange(`GET /health/live HTTP/1.1\r\n${host}${offer}\r\n`, live)).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
  });

  test("one that sends the whole URL, as to a proxy", async () => {
    expect(await exchange(post(host + close, { path: "http://localhost:4000/graphql" }))).toMatch(answered);
    expect(await exchange(`GET http://localhost/health/live HTTP/1.1\r\n${host}${close}\r\n`)).toMatch(/ 200 OK/);
    // Whom it is for is in the URL.
    const elsewhere = post(host + close, { path: "http://elsewhere.example/graphql" });
    expect(await exchange(elsewhere)).toMatch(/^HTTP\/1\.1 403 /);
    const here = post(`Host: elsewhere.example\r\n${close}`, { path: "http://localhost:4000/graphql" });
    expect(await exchange(here)).toMatch(answered);
    expect(await exchange(post(host + close, { path: "http://localhost:99999999/graphql" }))).toMatch(/ 400 /);
  });

  test("one that speaks HTTP/1.0 and names no host, as load balancers' probes", async () => {
    expect(await exchange("GET /health/live HTTP/1.0\r\n\r\n")).toMatch(/^HTTP\/1\.1 200 OK/);
    expect(await exchange(post("", { version: "1.0" }))).toMatch(answered);
  });
});

describe("is refused with a reason", () => {
  test("a body that is compressed", async () => {
    const sent = gzipSync(body);
    expect(await exchange(post(`${host}${close}Content-Encoding: gzip\r\n`, { sent }))).toMatch(
      / 415 [^]*accept-encoding: identity[^]*without Content-Encoding/,
    );
    expect(await exchange(post(`${host}${close}Content-Encoding: identity\r\n`))).toMatch(answered);
  });

  test("a body that is not in UTF-8", async () => {
    const [before = "", after = ""] = '{"query":"{ products(first: 1) { name } }","operationName":"|"}'.split("|");
    const sent = Buffer.concat([Buffer.from(before), Buffer.from([0xe9]), Buffer.from(after)]);
    expect(await exchange(post(host + close, { sent }))).toMatch(/ 400 [^]*not in UTF-8/);
    expect(await exchange(post(host + close, { sent: body.replace("first: 1", "first: 1 #\uFFFD\\n") }))).toMatch(
      answered,
    );
  });

  test.each(["/graphql/other", "/graphql/stream/other", "/graphql/../health", "/graphql/assets/page.js"])(
    "an operation sent to %s",
    async (path) => {
      expect(await exchange(post(host + close, { path }))).toMatch(/ 404 [^]*The graph is at \/graphql/);
    },
  );

  test("a result that nests more than can be written, which is told as the subgraph's fault", async () => {
    const times = 20_000;
    const deep = `${"[".repeat(times)}${"]".repeat(times)}`;
    shop.answerNext(`{"data":{"products":[{"meta":${deep}}]}}`);
    const sent = '{"query":"{ products(first: 4) { meta } }"}';
    expect(await exchange(post(host + close, { sent }))).toMatch(
      / 200 OK[^]*nested too deeply[^]*UPSTREAM_UNAVAILABLE/,
    );
    expect(await exchange(post(host + close))).toMatch(answered);
  });
});

describe("is 400, since the parts of a chain could read it differently,", () => {
  test.each([
    ["a request with two hosts", `${host}${host}`],
    ["one with another host in other letters", `${host}hOsT: evil.example\r\n`],
    ["one with two credentials", `${host}Authorization: Bearer a\r\nauthorization: Bearer b\r\n`],
    ["one with two origins", `${host}Origin: http://localhost\r\nOrigin: https://evil.example\r\n`],
    ["one with two types", `${host}Content-Type: text/plain\r\n`],
    ["one with two lengths", `${host}Content-Length: 3\r\n`],
    ["one with a length and chunks", `${host}Transfer-Encoding: chunked\r\n`],
    ["one with no host", ""],
  ])("%s", async (_what, headers) => {
    expect(await exchange(post(headers + close))).toMatch(/^HTTP\/1\.1 400 /);
  });

  test.each(["/health/live", "/graphql"])("an upgrade or a GET of %s with two hosts", async (path) => {
    const upgrade =
      "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    expect(await exchange(`GET ${path} HTTP/1.1\r\n${host}${host}${upgrade}\r\n`)).toMatch(/^HTTP\/1\.1 400 /);
    expect(await exchange(`GET ${path} HTTP/1.1\r\n${host}${host}${close}\r\n`)).toMatch(/^HTTP\/1\.1 400 /);
  });
});

test("what a socket's client sends as parameters goes on as headers, and nothing that would begin another header", async () => {
  const client = createClient({
    url: `${gateway.url.replace("http", "ws")}/graphql`,
    webSocketImpl: WebSocket,
    retryAttempts: 0,
    connectionParams: {
      Authorization: "Bearer theirs",
      "x-tenant": "acme",
      "x-second": "a\r\nx-evil: 1",
      "x-other": "no",
    },
  });
  shop.received.length = 0;
  const results = client.iterate({ query: "{ products(first: 2) { name } }" });
  expect((await results.next()).value).toMatchObject({ data: { products: [{}, {}] } });
  expect(shop.received[0]).toMatchObject({ authorization: "Bearer theirs", "x-tenant": "acme" });
  for (const name of ["x-second", "x-evil", "x-other"]) expect(shop.received[0]).not.toHaveProperty(name);
  await client.dispose();
});
