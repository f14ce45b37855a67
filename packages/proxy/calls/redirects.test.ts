import { connect } from "node:net";
import { request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import { eventually } from "@toolyard/testing";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { startControlPlane, type FakeControlPlane } from "../fixtures/control-plane.ts";
import { routeTo, startProxy, type RunningProxy } from "../fixtures/proxy.ts";
import { startUpstream, type Upstream } from "../fixtures/upstream.ts";
import type { Route } from "@toolyard/routes";

/** What the server answers; without one it says what it was asked. */
let answer: ((request: IncomingMessage, response: ServerResponse) => boolean | void) | null = null;
let controlPlane: FakeControlPlane;
let running: RunningProxy;
let server: Upstream;
let elsewhere: Upstream;
let token: string;

const say = (request: IncomingMessage, response: ServerResponse, body: string) => {
  if (answer?.(request, response)) return;
  response.writeHead(200, { "content-type": "application/json" });
  response.end(JSON.stringify({ method: request.method, url: request.url, body }));
};

beforeAll(async () => {
  controlPlane = await startControlPlane();
  server = await startUpstream(say);
  elsewhere = await startUpstream(say);
  token = await controlPlane.accessToken("ada");
  running = await startProxy(controlPlane, { env: { ALLOW_PRIVATE_REMOTES: "true" } });
});
afterAll(async () => {
  await running[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
  await elsewhere[Symbol.asyncDispose]();
  await controlPlane[Symbol.asyncDispose]();
});

let count = 0;
/** A route to the server by a name that was not there before, so that nothing is known of it. */
async function route(fields: Partial<Route> = {}, target: Partial<Route["targets"][number]> = {}): Promise<string> {
  count += 1;
  const made = routeTo(`server${count}`, [server.url], fields);
  controlPlane.setRoutes([{ ...made, targets: made.targets.map((one) => ({ ...one, ...target })) }]);
  const version = () => (running.proxy.health() as unknown as { routes: { version: string } }).routes.version;
  await eventually("the route", () => version() === String(count));
  return `/mcp/server${count}/v1`;
}
beforeEach(() => {
  answer = null;
  server.seen.length = 0;
  elsewhere.seen.length = 0;
});

const BODY = JSON.stringify({ jsonrpc: "2.0", id: 12345678901234567890n.toString(), method: "tools/list" });
const ask = (path: string, init: RequestInit = {}) =>
  fetch(`${running.url}${path}`, {
    redirect: "manual",
    ...init,
    headers: { authorization: `Bearer ${token}`, ...(init.headers as Record<string, string>) },
  });
const post = (path: string, body: string | ReadableStream = BODY, headers: Record<string, string> = {}) =>
  ask(path, {
    method: "POST",
    body,
    headers: { "content-type": "application/json", ...headers },
    ...(typeof body !== "string" && { duplex: "half" }),
  } as RequestInit);
const redirect = (status: number, to: (request: IncomingMessage) => string, from = "/mcp") => {
  answer = (request, response) => {
    if (request.url?.replace(/\?.*/, "") !== from) return false;
    response.writeHead(status, { location: to(request) }).end("moved");
    return true;
  };
};
const raw = async (bytes: string, port = String(running.port)): Promise<string> => {
  const socket = connect(Number(port), "127.0.0.1");
  socket.write(bytes);
  let received = "";
  for await (const chunk of socket) received += String(chunk);
  return received;
};

test("a server that does not let its launch in is not taken for a Toolyard that does not let the caller in", async () => {
  const base = await route({}, { headers: [{ name: "x-api-key", value: "expired" }], remote: true });
  answer = (_request, response) => {
    response.writeHead(401, { "www-authenticate": 'Bearer resource_metadata="https://auth.example/m"' }).end("no");
    return true;
  };
  const refused = await post(`${base}/mcp`, BODY, { accept: "application/json, text/event-stream" });
  expect(refused.status).toBe(502);
  expect(refused.headers.get("www-authenticate")).toBeNull();
  expect(await refused.text()).toContain("does not accept the credentials that its launch sends (HTTP 401)");
  expect(server.seen).toHaveLength(1);
  expect(server.seen[0]?.headers.authorization).toBeUndefined();
});

describe("a redirect of the MCP endpoint", () => {
  test.each([
    ["a path", () => "/mcp/"],
    ["a relative reference", () => "mcp/"],
    ["its own address", () => `http://127.0.0.1:${server.port}/mcp/`],
    ["its own address by another name", () => `http://localhost:${server.port}/mcp/`],
    ["the address that it binds", () => `http://0.0.0.0:${server.port}/mcp/`],
    [
      "the proxy's address, as forwarded",
      (request: IncomingMessage) => `http://${String(request.headers["x-forwarded-host"])}/mcp/`,
    ],
    ["no scheme", () => `//127.0.0.1:${server.port}/mcp/`],
  ])("to %s is followed with method and body, and the next calls go there at once", async (_name, to) => {
    for (const status of [307, 308, 301]) {
      const base = await route();
      redirect(status, to);
      server.seen.length = 0;
      expect(await (await post(`${base}/mcp`)).json()).toEqual({ method: "POST", url: "/mcp/", body: BODY });
      expect(await (await post(`${base}/mcp/`)).json()).toEqual({ method: "POST", url: "/mcp/", body: BODY });
      expect(await (await ask(`${base}/mcp`, { method: "DELETE" })).json()).toMatchObject({
        method: "DELETE",
        url: "/mcp/",
      });
      expect(server.seen.map(({ url }) => url)).toEqual(["/mcp", "/mcp/", "/mcp/", "/mcp/"]);
    }
  });

  test("to another place is followed for each caller anew: it may be one's alone", async () => {
    for (const status of [307, 308]) {
      const base = await route();
      redirect(status, ({ headers }) => `/mcp/of/${String(headers["x-toolyard-user"])}`);
      const other = { authorization: `Bearer ${await controlPlane.accessToken("bob")}` };
      const urlFor = async (headers = {}) =>
        ((await (await post(`${base}/mcp`, BODY, headers)).json()) as { url: string }).url;
      const own = await urlFor();
      expect(own).toMatch(/^\/mcp\/of\/./);
      expect(await urlFor(other)).not.toBe(own);
      expect(await urlFor()).toBe(own);
    }
  });

  test("keeps the client's query, and is followed for streams", async () => {
    const base = await route();
    redirect(307, (request) => `/mcp/?${request.url?.split("?")[1] ?? ""}`);
    const headers = { accept: "text/event-stream" };
    expect(await (await ask(`${base}/mcp?a=1`, { headers })).json()).toMatchObject({ method: "GET", url: "/mcp/?a=1" });
  });

  test("in a circle ends, in words", async () => {
    const base = await route();
    answer = (request, response) => {
      response.writeHead(307, { location: request.url === "/mcp" ? "/mcp/" : "/mcp" }).end();
      return true;
    };
    const refused = await post(`${base}/mcp`, BODY, { accept: "application/json, text/event-stream" });
    expect(refused.status).toBe(502);
    expect(await refused.text()).toContain("redirects its MCP endpoint in a circle");
    expect(server.seen.length).toBeLessThan(6);
  });

  test("whose body never ends is followed all the same", async () => {
    const base = await route();
    answer = (request, response) => {
      if (request.url !== "/mcp") return false;
      response.writeHead(307, { location: "/mcp/" });
      const more = () => void (response.destroyed || response.write("x".repeat(64 * 1024), more));
      more();
      return true;
    };
    expect(await (await post(`${base}/mcp`)).json()).toMatchObject({ url: "/mcp/" });
  });

  test.each([
    ["another port", () => `http://127.0.0.1:${elsewhere.port}/mcp`],
    ["another host", () => `http://example.invalid/mcp`],
    ["another scheme", () => `https://127.0.0.1:${server.port + 1}/mcp`],
    ["no URL", () => "http://["],
  ])("to %s is not followed: nobody's credentials go there", async (_name, to) => {
    const base = await route({}, { headers: [{ name: "x-api-key", value: "the secret" }], remote: true });
    redirect(307, to);
    const refused = await post(`${base}/mcp`);
    expect(refused.status).toBe(502);
    expect(refused.headers.get("location")).toBeNull();
    const text = await refused.text();
    expect(text).toContain("redirects its MCP endpoint to another address, which is not followed");
    expect(text).not.toContain(String(elsewhere.port));
    expect(elsewhere.seen).toEqual([]);
  });

  test("of a call that is streamed is the client's to follow, within the route", async () => {
    const base = await route();
    redirect(307, () => `http://127.0.0.1:${server.port}/mcp/`);
    const large = `${BODY}${" ".repeat(200_000)}`;
    const first = await post(`${base}/mcp`, new Blob([large]).stream());
    expect([first.status, first.headers.get("location")]).toEqual([307, `${base}/mcp/`]);
    expect(await (await post(first.headers.get("location") ?? "", new Blob([large]).stream())).json()).toMatchObject({
      url: "/mcp/",
      body: large,
    });
  });

  test("of a remote server with a secret URL shows none of it", async () => {
    const base = await route({ paths: [] }, { remote: true, mcpTarget: "/k3y/mcp?token=s3cret" });
    redirect(307, () => "/k3y/mcp/?token=s3cret", "/k3y/mcp");
    expect(await (await post(`${base}/mcp`)).json()).toMatchObject({ url: "/k3y/mcp/?token=s3cret" });
    redirect(302, () => "/k3y/mcp?token=s3cret", "/k3y/mcp/");
    expect((await post(`${base}/mcp`)).headers.get("location")).toBe(`${base}/mcp`);
    redirect(302, () => "/k3y/login?token=s3cret", "/k3y/mcp/");
    expect((await post(`${base}/mcp`)).headers.get("location")).toBeNull();
  });
});

describe("what an answer refers to", () => {
  test.each([
    ["location", "/login?next=%2Fx#a", "/login?next=%2Fx#a"],
    ["location", "../up", "/up"],
    ["location", "http://127.0.0.1:PORT/x", "/x"],
    ["content-location", "http://localhost:PORT/files/1", "/files/1"],
    ["refresh", "5; url=http://127.0.0.1:PORT/x", "5; url=BASE/x"],
    ["refresh", "0;URL='/x'", "0;URL='BASE/x'"],
    ["refresh", "30", "30"],
    ["refresh", `0, url = "/x" `, `0, url = "BASE/x"`],
    ["link", '</a>; rel="next", <http://0.0.0.0:PORT/b?c>; rel=prev', '<BASE/a>; rel="next", <BASE/b?c>; rel=prev'],
    [
      "www-authenticate",
      'Bearer resource_metadata="http://127.0.0.1:PORT/.well-known/x"',
      'Bearer resource_metadata="BASE/.well-known/x"',
    ],
    ["location", "https://example.com/elsewhere", "https://example.com/elsewhere"],
    ["link", "<https://example.com/>; rel=help", "<https://example.com/>; rel=help"],
  ])("by %s: %s is found at the route", async (name, value, expected) => {
    const base = await route();
    answer = (_request, response) => {
      response.writeHead(302, { [name]: value.replace("PORT", String(server.port)) }).end();
      return true;
    };
    const found = (await ask(`${base}/a/page`)).headers.get(name);
    expect(found).toBe(expected.startsWith("/") ? base + expected : expected.replaceAll("BASE", base));
  });

  test("is found below the prefix of the public URL", async () => {
    const base = await route();
    answer = (_request, response) => void response.setHeader("location", "/x");
    await using behind = await startProxy(controlPlane, { env: { PUBLIC_URL: "https://tools.example.com/yard" } });
    await eventually("the route", () => behind.proxy.health().status === "healthy");
    const found = await fetch(`${behind.url}${base}/a`, { headers: { authorization: `Bearer ${token}` } });
    expect(found.headers.get("location")).toBe(`/yard${base}/x`);
  });
});

describe("a path", () => {
  test("of the MCP endpoint counts with and without a slash, also of a server that opens no other", async () => {
    const base = await route({ paths: [], mcpPath: "/sub/mcp" });
    for (const path of ["/sub/mcp", "/sub/mcp/", "/mcp", "/mcp/"])
      expect(await (await post(base + path)).json()).toMatchObject({ url: "/sub/mcp" });
    for (const path of ["/sub", "/mcp/x", "/other"]) expect((await post(base + path)).status).toBe(404);
    await eventually("the records", () => {
      const endpoints = controlPlane
        .records()
        .filter(({ toolId }) => toolId === `tool-server${count}`)
        .map(({ endpoint }) => endpoint);
      return (
        endpoints.filter((endpoint) => endpoint === "/mcp/{slug}/v1/sub/mcp").length === 4 && endpoints.length === 7
      );
    });
  });

  test("may be absolute, as for a forward proxy, and says whom it is for", async () => {
    const base = await route();
    const send = (target: string, host: string) =>
      raw(
        `POST ${target} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${token}\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}`,
      );
    expect(await send(`http://127.0.0.1:${running.port}${base}/mcp?q=1`, "localhost")).toContain('"url":"/mcp?q=1"');
    expect(await send(`HTTP://LocalHost${base}/mcp`, "evil.example")).toMatch(/^HTTP\/1.1 200/);
    expect(await send(`http://evil.example${base}/mcp`, "localhost")).toMatch(/^HTTP\/1.1 403/);
    expect(await send(`http://user@evil.example${base}/mcp`, "localhost")).toMatch(/^HTTP\/1.1 403/);
    const { port } = new URL(running.ownUrl);
    expect(
      await raw(`GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`, port),
    ).toMatch(/^HTTP\/1.1 200/);
    expect(await raw(`CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: localhost\r\n\r\n`, port)).toMatch(
      /^HTTP\/1.1 405 [^]*not a forward proxy/,
    );
  });

  test("is not one for WebSockets, and that is said; other upgrades are offers that are not taken", async () => {
    const base = await route();
    const upgrade = (protocol: string) =>
      new Promise<{ status: number | undefined; text: string }>((resolve, reject) => {
        const headers = { authorization: `Bearer ${token}`, connection: "Upgrade", upgrade: protocol };
        httpRequest(`${running.url}${base}/mcp`, { headers }, (received) => {
          let text = "";
          received.on("data", (chunk) => (text += String(chunk)));
          received.on("end", () => resolve({ status: received.statusCode, text }));
        })
          .on("error", reject)
          .end();
      });
    const refused = await upgrade("WebSocket");
    expect([refused.status, server.seen.length]).toEqual([501, 0]);
    expect(refused.text).toContain("WebSockets are not passed on. MCP is spoken over Streamable HTTP here");
    expect(await upgrade("h2c")).toMatchObject({ status: 200 });
    const ended = Promise.withResolvers<string>();
    const socket = new WebSocket(`${running.url.replace("http", "ws")}${base}/mcp`);
    socket.on("error", ({ message }) => ended.resolve(message));
    expect(await ended.promise).toBe("Unexpected server response: 501");
  });
});
