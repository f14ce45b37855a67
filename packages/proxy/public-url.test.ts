import { request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startControlPlane, type FakeControlPlane } from "./fixtures/control-plane.ts";
import { routeTo, startProxy, withTokens, type RunningProxy } from "./fixtures/proxy.ts";
import { startUpstream, type Upstream } from "./fixtures/upstream.ts";

let controlPlane: FakeControlPlane;
let running: RunningProxy;
let upstream: Upstream;
let plain: Upstream;
let token: string;

beforeAll(async () => {
  controlPlane = await startControlPlane();
  upstream = await startUpstream(
    (request, response) => {
      const told = Object.entries(request.headers).filter(([name]) => name.startsWith("x-forwarded-"));
      response
        .writeHead(200, { "content-type": "application/json" })
        .end(JSON.stringify({ url: request.url, ...Object.fromEntries(told) }));
    },
    { token: "token-echo-0" },
  );
  plain = await startUpstream(({ url, headers }, response) => {
    if (url === "/stream") response.writeHead(200, { "content-type": "text/event-stream" }).end("data: 1\n\n");
    else response.writeHead(302, { location: `http://${headers.host}/there?a=b` }).end("{}");
  });
  controlPlane.setRoutes([withTokens(routeTo("echo", [upstream.url])), routeTo("plain", [plain.url])]);
  running = await startProxy(controlPlane, { env: { PUBLIC_URL: "https://example.com:8443/toolyard/" } });
  token = await controlPlane.accessToken("ada");
});
afterAll(async () => {
  await running[Symbol.asyncDispose]();
  for (const server of [upstream, plain]) await server[Symbol.asyncDispose]();
  await controlPlane[Symbol.asyncDispose]();
});

interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: unknown;
}

/** `fetch` sends no Host of one's own. */
function ask(path: string, headers: Record<string, string> = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = httpRequest(
      `${running.url}${path}`,
      { headers: { authorization: `Bearer ${token}`, ...headers } },
      (answer) => {
        let text = "";
        answer.on("data", (chunk: Buffer) => (text += chunk.toString()));
        answer.on("end", () => {
          const isJson = answer.headers["content-type"] !== "text/event-stream";
          resolve({
            status: answer.statusCode ?? 0,
            headers: answer.headers,
            body: isJson ? JSON.parse(text) : text,
          });
        });
      },
    );
    asked.once("error", reject).end();
  });
}

describe("behind a proxy with a path prefix", () => {
  test.each(["/mcp/echo/v1/mcp?a=b", "/toolyard/mcp/echo/v1/mcp?a=b"])(
    "a call to %s reaches its replica, which is told the public address",
    async (path) => {
      const { status, body } = await ask(path, { "x-forwarded-host": "evil.example", "x-forwarded-prefix": "/evil" });
      expect(status).toBe(200);
      expect(body).toEqual({
        url: "/mcp?a=b",
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "example.com:8443",
      });
    },
  );

  test.each(["/mcp/plain/v1/moved", "/toolyard/mcp/plain/v1/moved"])(
    "a replica's redirect leads to the route, with the prefix: %s",
    async (path) => {
      const { status, headers } = await ask(path);
      expect(status).toBe(302);
      expect(headers.location).toBe("/toolyard/mcp/plain/v1/there?a=b");
    },
  );

  test("the proxy in front is told not to hold a stream back", async () => {
    expect((await ask("/toolyard/mcp/plain/v1/stream")).headers["x-accel-buffering"]).toBe("no");
    expect((await ask("/toolyard/mcp/echo/v1/mcp")).headers["x-accel-buffering"]).toBe(undefined);
  });

  test.each([
    ["/toolyard/mcp/echo/v1/mcp", 200],
    ["/toolyard/toolyard/mcp/echo/v1/mcp", 404],
    ["/toolyardmcp/echo/v1/mcp", 404],
    ["/other/mcp/echo/v1/mcp", 404],
  ])("%s is answered with %i", async (path, status) => {
    expect((await ask(path)).status).toBe(status);
  });

  test("what is not there is said with the prefix", async () => {
    expect((await ask("/toolyard/mcp")).body).toMatchObject({
      detail: "There is nothing here. Tools are at /toolyard/mcp/{slug}/v1/mcp.",
    });
  });

  test.each([
    [{ host: "example.com" }, 200],
    [{ host: "EXAMPLE.com:8443", origin: "https://example.com:8443" }, 200],
    [{ host: "evil.example" }, 403],
    [{ origin: "https://evil.example" }, 403],
    // Another scheme or port is another origin.
    [{ origin: "http://example.com:8443" }, 403],
    [{ origin: "https://example.com" }, 403],
    [{ host: "evil.example", "x-forwarded-host": "example.com" }, 403],
  ])("%o: %i", async (headers, status) => {
    expect((await ask("/toolyard/mcp/echo/v1/mcp", headers)).status).toBe(status);
  });
});
