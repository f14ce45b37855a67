import { once } from "node:events";
import { createServer, request as send, type IncomingMessage } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { startControlPlane, type FakeControlPlane } from "@toolyard/proxy/fixtures/control-plane.ts";
import { routeTo, startProxy, type RunningProxy } from "@toolyard/proxy/fixtures/proxy.ts";
import { startUpstream, type Answer, type Upstream } from "@toolyard/proxy/fixtures/upstream.ts";
import { PASSAGE_HEADERS } from "@toolyard/service-kit/http/passage.ts";
import { eventually, freePort } from "@toolyard/testing";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startGatewayInFront } from "./fixtures/gateway-in-front.ts";

/** What came back for these bytes, until the connection was closed or nothing more came. */
async function raw(port: number, bytes: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  socket.write(bytes, "latin1");
  socket.on("error", () => undefined);
  let received = "";
  socket.on("data", (chunk) => (received += String(chunk)));
  await once(socket, "close");
  return received;
}

describe("in front of a proxy and its tool", () => {
  let controlPlane: FakeControlPlane;
  let tool: Upstream;
  let proxy: RunningProxy;
  let token: string;
  let authorization: string;
  let gateway: Awaited<ReturnType<typeof startGatewayInFront>>;
  beforeAll(async () => {
    controlPlane = await startControlPlane();
    tool = await startUpstream(({ url, headers }, response) => {
      if (url === "/stream") response.writeHead(200, { "content-type": "text/event-stream" }).write("data: 1\n\n");
      else response.writeHead(200, { location: `http://${headers.host}/there` }).end(url);
    });
    controlPlane.setRoutes([routeTo("echo", [tool.url])]);
    proxy = await startProxy(controlPlane, { env: { CORS_ORIGINS: "https://app.example.com" } });
    token = await controlPlane.accessToken("ada");
    authorization = `Bearer ${token}`;
    gateway = await startGatewayInFront(proxy.url, { METRICS_TOKEN: "a-token-for-scrapers" });
  });
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
    await proxy[Symbol.asyncDispose]();
    await tool[Symbol.asyncDispose]();
    await controlPlane[Symbol.asyncDispose]();
  });
  beforeEach(() => void tool.seen.splice(0));

  /** The address that the tool is told. */
  async function addressFrom(url: string, headers: Record<string, string>): Promise<unknown> {
    const { status } = await fetch(`${url}/mcp/echo/v1/mcp`, { headers: { authorization, ...headers } });
    expect(status).toBe(200);
    return tool.seen.at(-1)?.headers["x-forwarded-for"];
  }

  test.each([
    ["nobody's", "false", "127.0.0.1"],
    ["the nearest proxy's", "true", "198.51.100.7"],
  ])("a tool is told %s word for the client's address where TRUST_PROXY is %s", async (_whose, TRUST_PROXY, told) => {
    await using gateway = await startGatewayInFront(proxy.url, { TRUST_PROXY });
    const said = { "x-forwarded-for": "203.0.113.9, 198.51.100.7", [PASSAGE_HEADERS.clientAddress]: "203.0.113.1" };
    expect(await addressFrom(gateway.url, said)).toBe(told);
    expect(await addressFrom(proxy.url, said)).toBe("127.0.0.1");
  });

  test("the proxy believes the gateway's headers of nobody without the gateway's token", async () => {
    const { signer } = controlPlane;
    const others = [
      "gateway",
      token,
      await signer.serviceToken("proxy", ["internal:routes"], 60),
      await signer.serviceToken("gateway", ["internal:passage"], -60),
    ];
    for (const other of others) {
      const answer = await fetch(`${proxy.url}/mcp/echo/v1/mcp`, {
        headers: { authorization, [PASSAGE_HEADERS.token]: other, [PASSAGE_HEADERS.clientHost]: "evil.example" },
      });
      expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "5"]);
      expect(await answer.json()).toMatchObject({ code: "UPSTREAM_UNAVAILABLE" });
    }
    const own = await signer.serviceToken("gateway", ["internal:passage"], 60);
    const passed = { [PASSAGE_HEADERS.token]: own, [PASSAGE_HEADERS.clientAddress]: "203.0.113.1" };
    expect(await addressFrom(proxy.url, passed)).toBe("203.0.113.1");
    expect(JSON.stringify(tool.seen)).not.toContain(own);
  });

  test("what an answer refers to is said as at the address by which its client came", async () => {
    await using below = await startProxy(controlPlane, { env: { PROXY_URL: "https://tools.example.com/yard" } });
    await eventually("the routes", () => below.proxy.health().status === "healthy");
    await using other = await startGatewayInFront(below.url, {
      PUBLIC_URL: "https://example.com/toolyard",
      PROXY_URL: "https://tools.example.com/yard",
    });
    for (const [url, prefix] of [
      [other.url, "/toolyard"],
      [below.url, "/yard"],
    ]) {
      const answer = await fetch(`${url}/mcp/echo/v1/a`, { headers: { authorization } });
      expect(answer.headers.get("location")).toBe(`${prefix}/mcp/echo/v1/there`);
    }
  });

  test("a call is counted once on each side, under one id", async () => {
    const metricsOf = async () => {
      const bearer = { headers: { authorization: "Bearer a-token-for-scrapers" } };
      return (await fetch(`${gateway.url}/metrics`, bearer)).text();
    };
    const counted = async () =>
      Number(
        /^http_requests_total\{method="PUT",endpoint="\/mcp\/\*",status="200"\} (\d+)/m.exec(await metricsOf())?.[1],
      );
    const headers = { authorization: `Bearer ${await controlPlane.accessToken("grace")}`, "x-request-id": "mine" };
    const answer = await fetch(`${gateway.url}/mcp/echo/v1/mcp`, { method: "PUT", headers });
    expect(answer.headers.get("x-request-id")).toBe("mine");
    expect(tool.seen.at(-1)?.headers["x-request-id"]).toBe("mine");
    await eventually("its usage", () => controlPlane.records().some(({ userId }) => userId === "grace"));
    expect(controlPlane.records().filter(({ userId }) => userId === "grace")).toHaveLength(1);
    expect(await counted()).toBe(1);
    expect(await metricsOf()).not.toMatch(/^mcp_requests_total/m);
  });

  test("a gateway that ends ends the streams, and their clients see an end, not a fault", async () => {
    const ending = await startGatewayInFront(proxy.url);
    const stream = await fetch(`${ending.url}/mcp/echo/v1/stream`, { headers: { authorization } });
    const text = stream.text();
    await eventually("the stream", () => tool.seen.length === 1);
    await ending[Symbol.asyncDispose]();
    expect(await text).toBe("data: 1\n\n");
  });

  test.each([
    "/mcp/../healthz",
    "/mcp/..%2fhealthz",
    "/mcp/%2e%2e/healthz",
    "/mcp/%2e%2e%2fhealthz",
    "/mcp/..\\healthz",
    "/mcp/..;/healthz",
    "/mcp//healthz",
    "/mcp/./healthz",
    "/mcp/healthz",
    "/mcp/echo/v1/../../../healthz",
    "/mcp/echo/v1/%2e%2e/%2E%2e/secret",
    "/mcp/echo%2fv1/mcp",
    "/mcp/echo%00/v1/mcp",
    "/mcp/e%63ho/v1/mcp",
    "/mcp/ECHO/v1/mcp",
    "/mcp/echo@../v1/mcp",
    "/mcp/echo%0d%0aX-Toolyard-User:%20root/v1/mcp",
    "http://127.0.0.1/mcp/../healthz",
    "http://127.0.0.1/mcp/echo/v1/../../../healthz",
  ])("%s leads to no page of the proxy's own and out of no tool", async (target) => {
    const head = `Host: 127.0.0.1\r\nAuthorization: ${authorization}\r\nConnection: close\r\n\r\n`;
    expect(await raw(gateway.port, `GET ${target} HTTP/1.1\r\n${head}`)).toMatch(/^HTTP\/1.1 404 /);
    expect(tool.seen).toEqual([]);
  });

  test("a path below the tool reaches it as it was written", async () => {
    const head = `Host: 127.0.0.1\r\nAuthorization: ${authorization}\r\nConnection: close\r\n\r\n`;
    for (const path of ["/a%2f..%2fb", "/a//b;c=1/", "/%0d%0aSet-Cookie:%20a=b", "/a?b=/../c&d=%2e%2e"]) {
      const answer = await raw(gateway.port, `GET /mcp/echo/v1${path} HTTP/1.1\r\n${head}`);
      expect(answer).toMatch(/^HTTP\/1.1 200 /);
      expect(answer).not.toMatch(/^set-cookie/im);
      expect(tool.seen.at(-1)?.url).toBe(path);
    }
  });

  test("clients that look for an authorization server find none, at both addresses", async () => {
    for (const url of [gateway.url, proxy.url])
      for (const name of ["oauth-protected-resource", "oauth-authorization-server", "openid-configuration"])
        for (const path of ["", "/mcp/echo/v1/mcp"]) {
          const answer = await fetch(`${url}/.well-known/${name}${path}`);
          expect([answer.status, (await answer.json()) as unknown]).toEqual([
            404,
            expect.objectContaining({ code: "NOT_FOUND" }),
          ]);
        }
  });
});

describe("where the proxy is away", () => {
  const origin = "http://localhost:5173";

  test("that is said, to pages as well, until it is back", async () => {
    const port = await freePort();
    await using gateway = await startGatewayInFront(`http://127.0.0.1:${port}`);
    const call = () => fetch(`${gateway.url}/mcp/echo/v1/mcp`, { method: "POST", body: "{}", headers: { origin } });
    for (let n = 0; n < 3; n += 1) {
      const refused = await call();
      expect(Object.fromEntries(refused.headers)).toMatchObject({
        "content-type": "application/problem+json",
        "retry-after": "1",
        "access-control-allow-origin": origin,
      });
      expect(await refused.json()).toMatchObject({
        status: 503,
        detail: "The proxy to the tools cannot be reached. Try again.",
      });
    }
    const answer: Answer = (_request, response, body) => void response.end(body);
    {
      await using _proxy = await startUpstream(answer, { port });
      expect(await (await call()).text()).toBe("{}");
    }
    // The connection of the pool is dead.
    expect((await call()).status).toBe(503);
    await using _restarted = await startUpstream(answer, { port });
    expect(await (await call()).text()).toBe("{}");
  });

  test("a call that it took is not repeated, and an answer that it began is cut off", async () => {
    await using proxy = await startUpstream((request, response) => {
      if (request.url?.endsWith("/begun")) response.writeHead(200, { "content-length": "9" }).write("begun");
      setImmediate(() => request.socket.destroy());
    });
    await using gateway = await startGatewayInFront(proxy.url);
    const broken = await fetch(`${gateway.url}/mcp/echo/v1/mcp`, { method: "POST", body: "{}" });
    expect([broken.status, broken.headers.get("retry-after")]).toEqual([502, null]);
    expect(await broken.json()).toMatchObject({ detail: expect.stringContaining("may have had effect") });
    const cut = await fetch(`${gateway.url}/mcp/echo/v1/begun`);
    await expect(cut.text()).rejects.toThrow("terminated");
    expect(proxy.seen).toHaveLength(2);
  });

  test("a PROXY_URL that leads back to the gateway is no endless way", async () => {
    const port = await freePort();
    await using gateway = await startGatewayInFront(`http://127.0.0.1:${port}`, { PORT: String(port) });
    const answer = await fetch(`${gateway.url}/mcp/echo/v1/mcp`);
    expect(await answer.json()).toMatchObject({ status: 502, detail: expect.stringContaining("PROXY_URL") });
  });
});

describe("towards the proxy", () => {
  let proxy: Upstream;
  let gateway: Awaited<ReturnType<typeof startGatewayInFront>>;
  beforeAll(async () => {
    proxy = await startUpstream((_request, response, body) => void response.end(`got ${body}`));
    gateway = await startGatewayInFront(proxy.url);
  });
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
    await proxy[Symbol.asyncDispose]();
  });
  beforeEach(() => void proxy.seen.splice(0));

  const SMUGGLED = "GET /mcp/smuggled/v1/mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
  const LINE = "POST /mcp/echo/v1/mcp HTTP/1.1\r\n";
  const HOST = "Host: 127.0.0.1\r\n";
  const CHUNKED = "Transfer-Encoding: chunked\r\n";
  test.each([
    ["CL.TE", `${LINE}${HOST}Content-Length: 6\r\n${CHUNKED}\r\n0\r\n\r\n${SMUGGLED}`],
    ["TE.CL", `${LINE}${HOST}${CHUNKED}Content-Length: 4\r\n\r\n5c\r\n${SMUGGLED}\r\n0\r\n\r\n`],
    ["two lengths", `${LINE}${HOST}Content-Length: 0\r\nContent-Length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`],
    ["the same length twice", `${LINE}${HOST}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}${SMUGGLED}`],
    ["a list of lengths", `${LINE}${HOST}Content-Length: 0, ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`],
    ["a signed length", `${LINE}${HOST}Content-Length: +0\r\n\r\n${SMUGGLED}`],
    ["a hexadecimal length", `${LINE}${HOST}Content-Length: 0x1\r\n\r\n${SMUGGLED}`],
    ["two encodings", `${LINE}${HOST}${CHUNKED}Transfer-Encoding: identity\r\n\r\n0\r\n\r\n${SMUGGLED}`],
    ["an encoding after chunked", `${LINE}${HOST}Transfer-Encoding: chunked, x\r\n\r\n0\r\n\r\n${SMUGGLED}`],
    ["an unknown encoding", `${LINE}${HOST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n${SMUGGLED}`],
    ["a space before the colon", `${LINE}${HOST}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`],
    ["a folded header", `${LINE}${HOST}X-A: b\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`],
    ["a folded encoding", `${LINE}${HOST}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`],
    ["bare line feeds", `${LINE}${HOST}X-A: b\n${CHUNKED}\r\n0\r\n\r\n${SMUGGLED}`],
    ["bare line feeds only", `${LINE}${HOST}\r\n`.replaceAll("\r\n", "\n") + SMUGGLED],
    ["a bare carriage return", `${LINE}${HOST}X-A: b\rX-B: c\r\n\r\n${SMUGGLED}`],
    ["a zero byte", `${LINE}${HOST}X-A: b\0c\r\n\r\n${SMUGGLED}`],
    ["a huge chunk", `${LINE}${HOST}${CHUNKED}\r\nffffffffffffffffff\r\n${SMUGGLED}`],
    ["a negative chunk", `${LINE}${HOST}${CHUNKED}\r\n-1\r\n${SMUGGLED}`],
    ["a chunk that ends with a line feed", `${LINE}${HOST}${CHUNKED}\r\n2\r\n{}\n0\r\n\r\n${SMUGGLED}`],
    ["a chunk's extension with a line feed", `${LINE}${HOST}${CHUNKED}\r\n2;a\nb\r\n{}\r\n0\r\n\r\n${SMUGGLED}`],
    ["two hosts", `${LINE}${HOST}Host: evil.example\r\n\r\n${SMUGGLED}`],
    ["a space in the path", `POST /mcp/echo/v1/a HTTP/1.1 HTTP/1.1\r\n${HOST}\r\n${SMUGGLED}`],
    ["two credentials", `${LINE}${HOST}Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n${SMUGGLED}`],
  ])("%s: nothing is smuggled", async (_name, bytes) => {
    const answer = await raw(gateway.port, bytes);
    expect(answer).toMatch(/^HTTP\/1.1 4/);
    expect(answer.match(/^HTTP\/1.1 /gm)).toHaveLength(1);
    expect(proxy.seen.filter(({ url }) => url.includes("smuggled"))).toEqual([]);
  });

  test.each([
    ["of a length", `Content-Length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`],
    ["in chunks", `${CHUNKED}\r\n${SMUGGLED.length.toString(16)};ext=1\r\n${SMUGGLED}\r\n0\r\nTrailer-A: b\r\n\r\n`],
    [
      "whose length is of the connection",
      `Content-Length: ${SMUGGLED.length}\r\nConnection: Content-Length, close\r\n\r\n${SMUGGLED}`,
    ],
  ])("a body that looks like a request stays a body, also of a GET: %s", async (_name, rest) => {
    for (const method of ["GET", "POST", "DELETE"]) {
      const line = `${method} /mcp/echo/v1/mcp HTTP/1.1\r\n${HOST}Connection: close\r\n`;
      expect(await raw(gateway.port, line + rest)).toMatch(/^HTTP\/1.1 200 /);
    }
    expect(proxy.seen.map(({ url, body }) => [url, body])).toEqual(
      ["GET", "POST", "DELETE"].map(() => ["/mcp/echo/v1/mcp", SMUGGLED]),
    );
  });

  test("an offer of another protocol is not taken, and goes no further", async () => {
    for (const offer of ["h2c", "HTTP/2.0, websocket", "TLS/1.3"]) {
      const upgrade = `Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: ${offer}\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n`;
      expect(await raw(gateway.port, `GET /mcp/echo/v1/mcp HTTP/1.1\r\n${HOST}${upgrade}\r\n`)).toMatch(
        /^HTTP\/1.1 200 /,
      );
    }
    // HTTP/2 without asking.
    expect(await raw(gateway.port, `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${SMUGGLED}`)).not.toMatch(/^HTTP\/1.1 2/);
    expect(proxy.seen).toHaveLength(3);
    for (const { headers } of proxy.seen)
      for (const name of ["upgrade", "http2-settings"]) expect(headers).not.toHaveProperty(name);
  });

  test("a whole URL as the target names its own host to the proxy, whatever Host says, and no other server is called", async () => {
    const ask = (target: string, host: string) =>
      raw(gateway.port, `GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    expect(await ask("http://evil.example/mcp/echo/v1/mcp", "127.0.0.1")).toMatch(/^HTTP\/1.1 /);
    expect(await ask("http://127.0.0.1/mcp/echo/v1/mcp", "evil.example")).toMatch(/^HTTP\/1.1 /);
    expect(proxy.seen.map(({ url, headers }) => [url, headers[PASSAGE_HEADERS.clientHost]])).toEqual([
      ["/mcp/echo/v1/mcp", "evil.example"],
      ["/mcp/echo/v1/mcp", "127.0.0.1"],
    ]);
    for (const target of ["//evil.example/mcp/echo/v1/mcp", "evil.example:80", "http://user@evil.example:x/mcp/echo"])
      expect(await ask(target, "127.0.0.1")).toMatch(/^HTTP\/1.1 4/);
    expect(proxy.seen).toHaveLength(2);
  });

  test("nobody takes its headers away, or adds to them, by naming them as the connection's", async () => {
    const named = Object.values(PASSAGE_HEADERS).join(", ");
    const spoofed = `${PASSAGE_HEADERS.publicUrl}: https://evil.example\r\nX-Toolyard-User: root\r\n`;
    const answer = await raw(
      gateway.port,
      `GET /mcp/echo/v1/mcp HTTP/1.1\r\nHost: LocalHost:1\r\nConnection: close, x-mine, ${named}\r\nX-Mine: 1\r\n${spoofed}\r\n`,
    );
    expect(answer).toMatch(/^HTTP\/1.1 200 /);
    const { headers } = proxy.seen[0] ?? {};
    expect(headers).toMatchObject({
      host: new URL(proxy.url).host,
      [PASSAGE_HEADERS.clientHost]: "LocalHost:1",
      [PASSAGE_HEADERS.clientAddress]: "127.0.0.1",
      [PASSAGE_HEADERS.token]: expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+$/),
    });
    for (const name of ["x-mine", PASSAGE_HEADERS.publicUrl, "x-toolyard-user"])
      expect(headers).not.toHaveProperty(name);
  });

  test("who asks first whether to send a body is told to", async () => {
    const asked = send(`${gateway.url}/mcp/echo/v1/mcp`, { method: "POST", headers: { expect: "100-continue" } });
    asked.flushHeaders();
    await once(asked, "continue");
    asked.end("{}");
    // The event's only argument.
    const [answer] = (await once(asked, "response")) as [IncomingMessage];
    expect(answer.statusCode).toBe(200);
    answer.resume();
    expect(proxy.seen[0]?.headers).not.toHaveProperty("expect");
  });
});

describe("a body or an answer that is not taken", () => {
  test("of a refused call, the body is dropped, and the connection serves the next one", async () => {
    // Refused at the head, as by a proxy that reads no further.
    await using proxy = await startUpstream((_request, response) => void response.writeHead(401).end("no"), {
      atHead: true,
    });
    await using gateway = await startGatewayInFront(proxy.url);
    const socket = connect(gateway.port, "127.0.0.1");
    let received = "";
    socket.on("data", (chunk) => (received += String(chunk)));
    const head = `POST /mcp/echo/v1/mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n`;
    for (let n = 1; n <= 2; n += 1) {
      socket.write(`${head}begin`);
      await eventually("the refusal", () => received.split("HTTP/1.1 401").length === n + 1);
      socket.write("x".repeat(1_000_000 - "begin".length));
    }
    socket.destroy();
  });

  test("a body that comes slowly is passed on as it comes, and ends with its client", async () => {
    const bodies: string[] = [];
    const ended = Promise.withResolvers<void>();
    await using proxy = await startUpstream(
      (request) => {
        request.on("data", (chunk) => bodies.push(String(chunk)));
        request.on("error", () => ended.resolve());
      },
      { atHead: true },
    );
    await using gateway = await startGatewayInFront(proxy.url);
    const socket = connect(gateway.port, "127.0.0.1");
    socket.write(`POST /mcp/echo/v1/mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n`);
    for (const part of ["one", "two"]) {
      socket.write(part);
      await eventually(part, () => bodies.at(-1) === part);
    }
    socket.destroy();
    await ended.promise;
    expect(bodies).toEqual(["one", "two"]);
  });

  test("a client that does not read holds the proxy back", async () => {
    let given = 0;
    const closed = Promise.withResolvers<void>();
    const endless = createServer((_request, response) => {
      response.writeHead(200).on("close", () => closed.resolve());
      const more = () => {
        do given += 65_536;
        while (!response.destroyed && response.write(Buffer.alloc(65_536)));
      };
      response.on("drain", more);
      more();
    });
    await once(endless.listen(0, "127.0.0.1"), "listening");
    // A TCP server's address.
    const { port } = endless.address() as AddressInfo;
    await using gateway = await startGatewayInFront(`http://127.0.0.1:${port}`);
    const socket = connect(gateway.port, "127.0.0.1");
    socket.write("GET /mcp/echo/v1/mcp HTTP/1.1\r\nHost: localhost\r\n\r\n");
    socket.pause();
    let before = -1;
    await eventually("a standstill", () => {
      const stands = given > 0 && given === before;
      before = given;
      return stands;
    });
    expect(given).toBeLessThan(32 * 1024 * 1024);
    socket.destroy();
    await closed.promise;
    endless.close();
  });
});
