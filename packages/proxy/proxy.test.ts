import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { eventually } from "@toolyard/testing";
import { standstill } from "@toolyard/testing/turns.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startControlPlane, type FakeControlPlane } from "./fixtures/control-plane.ts";
import { routeTo, startProxy, withTokens, type RunningProxy } from "./fixtures/proxy.ts";
import { sayName, startUpstream, type Upstream } from "./fixtures/upstream.ts";
import type { Route } from "@toolyard/routes";

let controlPlane: FakeControlPlane;
let running: RunningProxy;
let echo: Upstream;
let token: string;
const upstreams: Upstream[] = [];
const routes: Route[] = [];

beforeAll(async () => {
  controlPlane = await startControlPlane();
  echo = await startUpstream(sayName("echo"), { token: "token-echo-0" });
  upstreams.push(echo);
  routes.push(
    withTokens(routeTo("echo", [echo.url])),
    routeTo("echo", [], { ref: "staging", stateReason: "echo is starting: installing its package." }),
  );
  controlPlane.setRoutes(routes);
  running = await startProxy(controlPlane, {
    env: { CORS_ORIGINS: "https://app.example.com", METRICS_TOKEN: "a-token-for-scrapers" },
  });
  token = await controlPlane.accessToken("ada");
});
afterAll(async () => {
  await running[Symbol.asyncDispose]();
  for (const upstream of upstreams) await upstream[Symbol.asyncDispose]();
  await controlPlane[Symbol.asyncDispose]();
});

/** Adds routes and waits until the proxy has them. */
async function addRoutes(...more: Route[]): Promise<void> {
  routes.push(...more);
  controlPlane.setRoutes(routes);
  await eventually("the routes", () => {
    const { routes: known } = running.proxy.health() as unknown as { routes: { count: number } };
    return known.count === new Set(routes.map(({ slug, ref }) => `${slug}@${ref}`)).size;
  });
}

async function upstream(...args: Parameters<typeof startUpstream>): Promise<Upstream> {
  const started = await startUpstream(...args);
  upstreams.push(started);
  return started;
}

const call = (path: string, init: RequestInit = {}) =>
  fetch(`${running.url}${path}`, {
    ...init,
    headers: { authorization: `Bearer ${token}`, ...(init.headers as Record<string, string>) },
  });
/** What comes back for bytes, until the connection is closed. */
async function raw(bytes: string): Promise<string> {
  const socket = connect(Number(new URL(running.url).port), "127.0.0.1");
  socket.write(bytes);
  let received = "";
  for await (const chunk of socket) received += String(chunk);
  return received;
}
const rpc = (method: string, name?: string, headers: Record<string, string> = {}) => ({
  method: "POST",
  headers: { "content-type": "application/json", ...headers },
  body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, ...(name !== undefined && { params: { name } }) }),
});
// Health is declared as JSON of any shape.
const callsRunning = () => (running.proxy.health() as unknown as { calls: { running: number } }).calls.running;
const recordsOf = (slug: string) => controlPlane.records().filter(({ toolId }) => toolId === `tool-${slug}`);
interface ProblemBody {
  status: number;
  code: string;
  detail: string;
  request_id: string;
}
/** The problem that an answer tells of; to an MCP client as data of a JSON-RPC error. */
async function problemOf(answer: Response): Promise<ProblemBody> {
  // It is one of the two.
  const body = (await answer.json()) as ProblemBody | { id: unknown; error: { message: string; data: ProblemBody } };
  const isRpc = "error" in body;
  expect(answer.headers.get("content-type")).toBe(isRpc ? "application/json" : "application/problem+json");
  const problem = isRpc ? body.error.data : body;
  if (isRpc) expect(body).toMatchObject({ jsonrpc: "2.0", error: { message: problem.detail } });
  expect(problem.request_id).toBe(answer.headers.get("x-request-id"));
  expect(problem.status).toBe(answer.status);
  return problem;
}

describe("a server that runs elsewhere", () => {
  test("is asked at its own MCP endpoint, whose key no caller sees, and at no other path than its owner opened", async () => {
    const far = await upstream(sayName("far"));
    const route = routeTo("far", [far.url], { paths: ["/files"] });
    await addRoutes({
      ...route,
      targets: route.targets.map((target) => ({ ...target, mcpTarget: "/s/k3y/mcp?apiKey=k3y" })),
    });
    expect((await call("/mcp/far/v1/mcp", rpc("tools/list"))).status).toBe(200);
    expect((await call("/mcp/far/v1/mcp?tools=all", rpc("tools/list"))).status).toBe(200);
    expect((await call("/mcp/far/v1/files/a.txt?b=c")).status).toBe(200);
    const reached = ["/s/k3y/mcp?apiKey=k3y", "/s/k3y/mcp?apiKey=k3y&tools=all", "/files/a.txt?b=c"];
    expect(far.seen.map(({ url }) => url)).toEqual(reached);
    for (const path of ["/", "/admin", "/filesystem", "/mcp/x", "/files/..%2fadmin", "/files/..;/admin", "//admin"]) {
      const refused = await call(`/mcp/far/v1${path}`);
      expect(await problemOf(refused)).toMatchObject({
        status: 404,
        detail: expect.stringContaining("its MCP endpoint"),
      });
    }
    expect(far.seen).toHaveLength(reached.length);
  });
});

describe("a call", () => {
  test("reaches its replica with the replica's token, and leaves one usage record", async () => {
    const answer = await call("/mcp/echo/v1/mcp?x=1", rpc("tools/call", "shout"));
    expect(answer.status).toBe(200);
    expect(await answer.json()).toEqual({ name: "echo" });
    const seen = echo.seen.at(-1);
    expect(seen).toMatchObject({ method: "POST", url: "/mcp?x=1", body: rpc("tools/call", "shout").body });
    expect(seen?.headers).toMatchObject({
      host: new URL(echo.url).host,
      authorization: "Bearer token-echo-0",
      "x-toolyard-user": "ada",
      "x-request-id": answer.headers.get("x-request-id"),
      "x-forwarded-for": "127.0.0.1",
      "x-forwarded-proto": "http",
      "x-forwarded-host": new URL(running.url).host,
    });
    expect(seen?.headers.traceparent).toMatch(/^00-[\da-f]{32}-[\da-f]{16}-00$/);
    const record = await eventually("the record", () => recordsOf("echo")[0]);
    expect(record).toMatchObject({
      toolId: "tool-echo",
      deploymentId: "deployment-echo",
      endpoint: "/mcp/{slug}/v1/mcp",
      method: "POST",
      mcpMethod: "tools/call",
      mcpTool: "shout",
      statusCode: 200,
      userId: "ada",
    });
    expect(Math.abs(Date.parse(record.at) - Date.now())).toBeLessThan(20_000);
    expect(record.responseTimeMs).toBeGreaterThan(0);
  });

  test("of revision 2026-07-28 is recorded by its headers", async () => {
    await call("/mcp/echo/v1/mcp", rpc("x", "y", { "mcp-method": "tools/call", "mcp-name": "=?base64?w6g=?=" }));
    await eventually("the record", () => recordsOf("echo").some(({ mcpTool }) => mcpTool === "è"));
  });

  test("carries neither the client's credential nor what only proxies may say", async () => {
    await call("/mcp/echo/v1/some/path", {
      headers: {
        cookie: "a=b",
        "x-toolyard-user": "root",
        "x-forwarded-for": "10.0.0.1",
        forwarded: "for=10.0.0.1",
        "x-real-ip": "10.0.0.1",
        origin: "http://localhost:5173",
        "x-mine": "kept",
        traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-01`,
        "x-request-id": "my-id",
      },
    });
    const headers = echo.seen.at(-1)?.headers ?? {};
    expect(headers).toMatchObject({
      authorization: "Bearer token-echo-0",
      "x-toolyard-user": "ada",
      "x-forwarded-for": "127.0.0.1",
      "x-mine": "kept",
      traceparent: expect.stringMatching(/^00-a{32}-[\da-f]{16}-01$/),
      "x-request-id": "my-id",
    });
    for (const name of ["cookie", "forwarded", "x-real-ip", "origin"]) expect(headers).not.toHaveProperty(name);
    await eventually("the record", () =>
      recordsOf("echo").some(({ endpoint }) => endpoint === "/mcp/{slug}/v1/{path}"),
    );
  });

  test.each([
    "x_toolyard_user",
    "X-Toolyard_User",
    "x_toolyard-user",
    "x.toolyard.user",
    "X_TOOLYARD_CALLER",
    "x_forwarded_for",
    "X-Forwarded_Host",
    "x_real_ip",
    "mcp_session_id",
    "Mcp_Method",
    "x_request_id",
    "proxy",
    "Proxy",
  ])("does not carry %s, which a CGI program would take for what the proxy says", async (name) => {
    const head = `Host: 127.0.0.1\r\nAuthorization: Bearer ${token}\r\nConnection: close\r\n`;
    const answer = await raw(`GET /mcp/echo/v1/odd-names HTTP/1.1\r\n${head}${name}: root\r\nx_mine: kept\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1\.1 200 /);
    const headers = echo.seen.at(-1)?.headers ?? {};
    expect(Object.values(headers)).not.toContain("root");
    expect(headers).toMatchObject({ "x-toolyard-user": "ada", x_mine: "kept" });
  });

  test.each([
    ["two hosts", "Host: 127.0.0.1\r\nHost: 127.0.0.1\r\n"],
    ["two credentials", "Host: 127.0.0.1\r\nAuthorization: Bearer other\r\n"],
    ["two sessions", "Host: 127.0.0.1\r\nMcp-Session-Id: a\r\nmcp-session-id: b\r\n"],
    ["two lengths", "Host: 127.0.0.1\r\nContent-Length: 0\r\nContent-Length: 2\r\n"],
    ["a length and chunks", "Host: 127.0.0.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n"],
    ["no host", ""],
  ])("with %s is 400", async (_what, headers) => {
    const before = echo.seen.length;
    const answer = await raw(
      `GET /mcp/echo/v1/ambiguous HTTP/1.1\r\nAuthorization: Bearer ${token}\r\nConnection: close\r\n${headers}\r\n`,
    );
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    expect(echo.seen).toHaveLength(before);
  });

  test("drops headers that the Connection header names, both ways", async () => {
    const hop = await upstream((_request, response) => {
      response.writeHead(200, { connection: "x-secret", "x-secret": "1", "set-cookie": "a=b", "x-open": "2" });
      response.end("ok");
    });
    await addRoutes(routeTo("hop", [hop.url]));
    const received = await new Promise<Record<string, unknown>>((resolve, reject) => {
      httpRequest(
        `${running.url}/mcp/hop/v1/x`,
        { headers: { authorization: `Bearer ${token}`, connection: "keep-alive, x-hop", "x-hop": "1", "x-end": "2" } },
        (response) => resolve(response.resume().headers),
      )
        .on("error", reject)
        .end();
    });
    expect(hop.seen[0]?.headers).toMatchObject({ "x-end": "2" });
    expect(hop.seen[0]?.headers).not.toHaveProperty("x-hop");
    expect(received).toMatchObject({ "x-open": "2" });
    expect(received).not.toHaveProperty("x-secret");
    expect(received).not.toHaveProperty("set-cookie");
  });

  test("with a body of 200 KB in chunks arrives whole, and its answer of 3 MB comes back whole", async () => {
    const big = Buffer.alloc(3 * 1024 * 1024, "b");
    const large = await upstream((_request, response) => response.end(big));
    await addRoutes(routeTo("large", [large.url]));
    const sent = Buffer.from(JSON.stringify({ method: "tools/call", params: { name: "eat", x: "y".repeat(200_000) } }));
    const answer = await call("/mcp/large/v1/mcp", {
      method: "POST",
      body: new Blob([sent]).stream(),
      duplex: "half",
    } as RequestInit);
    expect(Buffer.from(await answer.arrayBuffer()).equals(big)).toBe(true);
    expect(large.seen[0]?.body).toBe(sent.toString());
    expect(large.seen[0]?.headers["transfer-encoding"]).toBe("chunked");
    const record = await eventually("the record", () => recordsOf("large")[0]);
    expect(record).toMatchObject({ mcpMethod: "tools/call", mcpTool: "eat" });
  });
});

describe("what is not answered by a replica", () => {
  test.each([
    ["no credential", undefined],
    ["rubbish", "Bearer rubbish"],
    ["another scheme", "Basic YWRtaW4="],
    ["an unknown API key", "Bearer ty_0_unknown"],
    ["a token of somebody else", "Bearer eyJhbGciOiJFZERTQSIsImtpZCI6IngifQ.e30.AAAA"],
  ])("401 for %s, and how to get in", async (_name, authorization) => {
    const answer = await fetch(`${running.url}/mcp/echo/v1/mcp`, {
      method: "POST",
      headers: authorization === undefined ? {} : { authorization },
    });
    expect(answer.status).toBe(401);
    expect((await problemOf(answer)).code).toBe("UNAUTHENTICATED");
    // Nor to a document that leads nowhere: there is no authorization server.
    expect(answer.headers.get("www-authenticate")).toMatch(
      /^Bearer (error="invalid_token", error_description="[^"]+", )?scope="INVOKE"$/,
    );
    for (const path of ["", "/mcp/echo/v1/mcp"])
      expect((await fetch(`${running.url}/.well-known/oauth-protected-resource${path}`)).status).toBe(404);
  });

  test("403 for who may not call tools, and no record", async () => {
    const viewer = await controlPlane.accessToken("vera", "VIEWER");
    const answer = await call("/mcp/echo/v1/mcp", { headers: { authorization: `Bearer ${viewer}` } });
    expect(answer.status).toBe(403);
    expect((await problemOf(answer)).detail).toContain("has not shared it with you");
    const readOnly = await controlPlane.accessToken("rita", "DEVELOPER", ["READ"]);
    expect((await call("/mcp/echo/v1/mcp", { headers: { authorization: `Bearer ${readOnly}` } })).status).toBe(403);
  });

  test.each(["/mcp/unknown/v1/mcp", "/mcp/echo@nowhere/v1/mcp", "/mcp/echo/v2/mcp", "/mcp"])(
    "404 for %s",
    async (path) => {
      const before = echo.seen.length;
      const answer = await call(path);
      expect(answer.status).toBe(404);
      expect((await problemOf(answer)).code).toBe("NOT_FOUND");
      expect(echo.seen.length).toBe(before);
    },
  );

  test("503 with the reason and Retry-After while nothing is ready", async () => {
    const answer = await call("/mcp/echo@staging/v1/mcp");
    expect(answer.status).toBe(503);
    expect(answer.headers.get("retry-after")).toMatch(/^\d+$/);
    expect((await problemOf(answer)).detail).toBe("echo is starting: installing its package.");
    const record = await eventually("the record", () =>
      recordsOf("echo").find(({ deploymentId }) => deploymentId === "deployment-echo-staging"),
    );
    expect(record).toMatchObject({ statusCode: 503, endpoint: "/mcp/{slug}@staging/v1/mcp" });
  });

  test("a call of what starts waits a moment for it, and is refused when it is not there then", async () => {
    const late = await upstream(sayName("late"));
    await addRoutes(routeTo("late", [], { awaited: true, stateReason: "late is starting." }));
    const answer = call("/mcp/late/v1/mcp", rpc("tools/call"));
    await eventually("the call", () => callsRunning() === 1);
    routes.splice(routes.length - 1, 1);
    await addRoutes(routeTo("late", [late.url]));
    expect((await answer).status).toBe(200);
    routes.splice(routes.length - 1, 1);
    await addRoutes(routeTo("late", [], { awaited: true, stateReason: "late is starting." }));
    await eventually("the change", async () => (await call("/mcp/late/v1/mcp", rpc("tools/call"))).status === 503);
    expect(callsRunning()).toBe(0);
  });

  test.each([
    ["that says how long it is", () => ({ body: Buffer.alloc(11 * 1024 * 1024) })],
    ["in chunks", () => ({ body: new Blob([Buffer.alloc(11 * 1024 * 1024)]).stream(), duplex: "half" })],
  ])("413 for a body over 10 MiB %s", async (_name, init) => {
    const slug = `sink-${_name.length}`;
    const sink = await upstream(sayName("sink"));
    await addRoutes(routeTo(slug, [sink.url]));
    const answer = await call(`/mcp/${slug}/v1/mcp`, { method: "POST", ...init() } as RequestInit);
    expect(answer.status).toBe(413);
    expect((await problemOf(answer)).code).toBe("PAYLOAD_TOO_LARGE");
    const record = await eventually("the record", () => recordsOf(slug)[0]);
    expect(record.statusCode).toBe(413);
  });

  test("503 when the replica cannot be reached, and 502 when it hangs up before it answers", async () => {
    const gone = await upstream(sayName("gone"));
    await gone.kill();
    const rude = await upstream((request) => request.socket.destroy());
    await addRoutes(routeTo("gone", [gone.url]), routeTo("rude", [rude.url]));
    expect((await problemOf(await call("/mcp/gone/v1/mcp", rpc("tools/call")))).status).toBe(503);
    expect((await problemOf(await call("/mcp/rude/v1/mcp", rpc("tools/call")))).status).toBe(502);
    expect(rude.seen.length).toBe(1); // never twice
    await eventually(
      "the records",
      () => recordsOf("gone")[0]?.statusCode === 503 && recordsOf("rude")[0]?.statusCode === 502,
    );
  });

  test("504 when the first byte does not come in time", async () => {
    const silent = await upstream(() => undefined);
    await addRoutes(routeTo("silent", [silent.url], { options: { timeoutSeconds: 0.1 } }));
    const answer = await call("/mcp/silent/v1/mcp", rpc("tools/call"));
    expect((await problemOf(answer)).code).toBe("TIMEOUT");
    expect(answer.status).toBe(504);
  });

  test("503 when the tool answers as many calls as it may, and the next is answered after", async () => {
    const open: (() => void)[] = [];
    const slow = await upstream((_request, response) => open.push(() => response.end("done")));
    await addRoutes(routeTo("slow", [slow.url], { options: { maxConcurrentCalls: 1 } }));
    const first = call("/mcp/slow/v1/mcp", rpc("tools/call"));
    await eventually("the first", () => open.length === 1);
    const second = await call("/mcp/slow/v1/mcp", rpc("tools/call"));
    expect(second.status).toBe(503);
    expect((await problemOf(second)).code).toBe("CAPACITY_EXHAUSTED");
    open[0]?.();
    expect((await first).status).toBe(200);
    await eventually("room", () => recordsOf("slow").length === 2);
    const third = call("/mcp/slow/v1/mcp", rpc("tools/call"));
    await eventually("the third", () => open.length === 2);
    open[1]?.();
    expect((await third).status).toBe(200);
  });
});

describe("streams", () => {
  test("events come as they are sent, and the replica learns that the client left", async () => {
    const left = Promise.withResolvers<void>();
    const say: ((text: string) => void)[] = [];
    const events = await upstream(
      (_request, response) => {
        response.writeHead(200, { "content-type": "text/event-stream" });
        response.flushHeaders();
        say.push((text) => response.write(text));
        response.on("close", () => left.resolve());
      },
      { atHead: true },
    );
    await addRoutes(routeTo("events", [events.url], { options: { timeoutSeconds: 0.1, maxConcurrentCalls: 1 } }));
    const controller = new AbortController();
    const answer = await call("/mcp/events/v1/mcp", {
      headers: { accept: "text/event-stream" },
      signal: controller.signal,
    });
    const reader = answer.body?.getReader();
    for (const text of ["data: 1\n\n", "data: 2\n\n"]) {
      say[0]?.(text);
      const { value } = (await reader?.read()) ?? {};
      expect(Buffer.from(value ?? []).toString()).toBe(text);
    }
    // A stream that stands open has no share of the concurrent calls.
    const other = call("/mcp/events/v1/mcp", { ...rpc("tools/call"), signal: AbortSignal.timeout(5_000) });
    await eventually("another call", () => say.length === 2);
    controller.abort();
    await left.promise;
    await other.catch(() => undefined); // cut off by its own time limit; not what is tested here
    const record = await eventually("the record", () => recordsOf("events").find(({ method }) => method === "GET"));
    expect(record).toMatchObject({ statusCode: 200, mcpMethod: null });
  });

  test("a replica that dies in the middle of its answer ends the client's answer too, with the reason, and is recorded as broken", async () => {
    const die = Promise.withResolvers<void>();
    const dying = await upstream((request, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write("data: 1\n\n");
      void die.promise.then(() => request.socket.destroy());
    });
    await addRoutes(routeTo("dying", [dying.url]));
    const answer = await call("/mcp/dying/v1/mcp", rpc("tools/call"));
    const reader = answer.body?.getReader();
    expect((await reader?.read())?.value).toEqual(new TextEncoder().encode("data: 1\n\n"));
    die.resolve();
    expect(new TextDecoder().decode((await reader?.read())?.value)).toContain("ended the connection");
    const record = await eventually("the record", () => recordsOf("dying")[0]);
    expect(record.statusCode).toBe(502);
  });

  test("a client that reads slowly holds the replica back", async () => {
    let sent = 0;
    const fast = await upstream((_request, response) => {
      const more = () => {
        while (sent < 64 * 1024 * 1024) {
          sent += 64 * 1024;
          if (!response.write(Buffer.alloc(64 * 1024))) {
            response.once("drain", more);
            return;
          }
        }
        response.end();
      };
      more();
    });
    await addRoutes(routeTo("fast", [fast.url]));
    const socket = connect(running.port, "127.0.0.1");
    socket.pause();
    socket.write(`GET /mcp/fast/v1/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\n\r\n`);
    await eventually("a beginning", () => sent > 0);
    await standstill(() => sent);
    expect(sent).toBeLessThan(32 * 1024 * 1024);
    socket.destroy();
    await eventually("the replica's connections to close", () => fast.connections() === 0);
    const record = await eventually("the record", () => recordsOf("fast")[0]);
    expect(record.statusCode).toBe(499);
  });

  test("a client that leaves before the answer ends the call at the replica", async () => {
    const left = Promise.withResolvers<void>();
    const waiting = await upstream((_request, response) => void response.on("close", () => left.resolve()));
    await addRoutes(routeTo("waiting", [waiting.url]));
    const controller = new AbortController();
    const answer = call("/mcp/waiting/v1/mcp", { ...rpc("tools/call"), signal: controller.signal });
    await eventually("the call", () => waiting.seen.length === 1);
    controller.abort();
    await expect(answer).rejects.toThrow();
    await left.promise;
    const record = await eventually("the record", () => recordsOf("waiting")[0]);
    expect(record.statusCode).toBe(499);
  });
});

test("an event stream left before the replica answered is recorded as left, with a status that the control plane takes", async () => {
  const mute = await upstream(() => undefined);
  await addRoutes(routeTo("mute", [mute.url]));
  const controller = new AbortController();
  const answer = call("/mcp/mute/v1/mcp", { headers: { accept: "text/event-stream" }, signal: controller.signal });
  await eventually("the call", () => mute.seen.length === 1);
  controller.abort();
  await expect(answer).rejects.toThrow();
  expect(await eventually("the record", () => recordsOf("mute")[0])).toMatchObject({ statusCode: 499 });
});

describe("balance", () => {
  test("a replica that cannot be connected to costs no call: another has it", async () => {
    const dead = await upstream(sayName("dead"));
    const alive = await upstream(sayName("alive"));
    await dead.kill();
    await addRoutes(routeTo("pair", [dead.url, alive.url]));
    for (let calls = 0; calls < 20; calls += 1) {
      const answer = await call("/mcp/pair/v1/mcp", rpc("tools/call"));
      expect(await answer.json()).toEqual({ name: "alive" });
    }
    expect(alive.seen.length).toBe(20);
    await eventually("one record for each", () => recordsOf("pair").length === 20);
  });

  test("a deployment is reached by its own name, and weights share the calls", async () => {
    const old = await upstream(sayName("old"));
    const canary = await upstream(sayName("canary"));
    await addRoutes(
      routeTo("shared", [old.url], { weight: 50, deploymentId: "old" }),
      {
        ...routeTo("shared", [], { weight: 50, deploymentId: "new" }),
        targets: routeTo("canary", [canary.url]).targets,
      },
      routeTo("shared", [canary.url], { ref: "shared-k3f9" }),
    );
    expect(await (await call("/mcp/shared@shared-k3f9/v1/mcp")).json()).toEqual({ name: "canary" });
    for (let calls = 0; calls < 40; calls += 1) await (await call("/mcp/shared/v1/mcp")).text();
    expect(old.seen.length).toBeGreaterThan(5);
    expect(canary.seen.length).toBeGreaterThan(6);
  });

  test("a change of routes breaks no running call, and the next goes where it leads", async () => {
    const open: (() => void)[] = [];
    const before = await upstream((_request, response) => {
      const end = () => response.end("before");
      if (open.length === 0) open.push(end);
      else end();
    });
    const after = await upstream((_request, response) => response.end("after"));
    await addRoutes(routeTo("moving", [before.url]));
    const first = call("/mcp/moving/v1/mcp");
    await eventually("the call", () => open.length === 1);
    routes.splice(
      routes.findIndex(({ slug }) => slug === "moving"),
      1,
    );
    await addRoutes(routeTo("moving", [after.url]));
    await eventually("the new route", async () => (await (await call("/mcp/moving/v1/mcp")).text()) === "after");
    for (const end of open) end();
    expect(await (await first).text()).toBe("before");
  });
});

describe("sessions", () => {
  const sessions = async (slug: string) => {
    const replicas = await Promise.all(
      ["a", "b", "c"].map((name) =>
        upstream((request, response, body) => {
          if (body.includes('"initialize"')) response.setHeader("mcp-session-id", `own-${name}`);
          response.end(JSON.stringify({ name, session: request.headers["mcp-session-id"] }));
        }),
      ),
    );
    await addRoutes(
      routeTo(
        slug,
        replicas.map(({ url }) => url),
      ),
    );
    return replicas;
  };

  test("stay with their replica, under an id that the proxy signed", async () => {
    await sessions("sticky");
    const opened = await call("/mcp/sticky/v1/mcp", rpc("initialize"));
    const session = opened.headers.get("mcp-session-id") ?? "";
    const { name } = (await opened.json()) as { name: string };
    expect(session).toMatch(/^[\w-]+$/);
    expect(session).not.toContain("own-");
    for (let calls = 0; calls < 10; calls += 1) {
      const answer = await call("/mcp/sticky/v1/mcp", rpc("tools/call", "x", { "mcp-session-id": session }));
      expect(await answer.json()).toEqual({ name, session: `own-${name}` });
    }
  });

  test("are 404 to somebody else, when forged, at another tool, and when their replica is gone", async () => {
    const replicas = await sessions("lost");
    const opened = await call("/mcp/lost/v1/mcp", rpc("initialize"));
    const session = opened.headers.get("mcp-session-id") ?? "";
    const { name } = (await opened.json()) as { name: string };
    const other = await controlPlane.accessToken("bob");
    const statusOf = async (id: string, slug = "lost", as = token) =>
      (
        await call(
          `/mcp/${slug}/v1/mcp`,
          rpc("tools/call", "x", { "mcp-session-id": id, authorization: `Bearer ${as}` }),
        )
      ).status;
    expect(await statusOf(session)).toBe(200);
    expect(await statusOf(session, "lost", other)).toBe(404);
    expect(await statusOf(`${session.slice(0, -2)}AA`)).toBe(404);
    expect(await statusOf("own-a")).toBe(404);
    expect(await statusOf(session, "echo")).toBe(404);
    await replicas["abc".indexOf(name)]?.kill();
    expect(await statusOf(session)).toBe(404);
    const found = routes.find(({ slug }) => slug === "lost");
    if (found)
      found.targets = found.targets.filter(({ replicaId }) => replicaId !== `replica-lost-${"abc".indexOf(name)}`);
    await addRoutes();
    expect(await statusOf(session)).toBe(404);
  });
});

describe("pages and hosts", () => {
  test("a preflight of an allowed origin is answered, and the session id is exposed", async () => {
    const preflight = await fetch(`${running.url}/mcp/echo/v1/mcp`, {
      method: "OPTIONS",
      headers: {
        origin: "https://app.example.com",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, mcp-session-id",
      },
    });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get("access-control-allow-origin")).toBe("https://app.example.com");
    expect(preflight.headers.get("access-control-allow-headers")).toBe("authorization, mcp-session-id");
    const answer = await call("/mcp/echo/v1/mcp", { headers: { origin: "https://app.example.com" } });
    expect(answer.headers.get("access-control-expose-headers")).toContain("Mcp-Session-Id");
  });

  test("other origins and other host names are refused before anything else", async () => {
    expect((await call("/mcp/echo/v1/mcp", { headers: { origin: "https://evil.example.com" } })).status).toBe(403);
    const status = await new Promise((resolve, reject) => {
      httpRequest(`${running.url}/mcp/echo/v1/mcp`, { headers: { host: "evil.example.com" } }, (response) =>
        resolve(response.resume().statusCode),
      )
        .on("error", reject)
        .end();
    });
    expect(status).toBe(403);
  });

  test.each([
    ["two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n"],
    ["a length and chunks", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"],
    ["an unknown coding after chunked", "Transfer-Encoding: chunked, identity\r\n"],
    ["a header name with a space", "Content-Length : 5\r\n"],
  ])("a request that two parsers could read in two ways is not passed on: %s", async (_name, headers) => {
    const before = echo.seen.length;
    const socket = connect(running.port, "127.0.0.1");
    let received = "";
    socket.on("data", (chunk) => (received += chunk.toString()));
    socket.write(
      `POST /mcp/echo/v1/mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\n${headers}\r\nhello`,
    );
    await eventually("an answer", () => received.startsWith("HTTP/1.1 400"));
    socket.destroy();
    expect(echo.seen.length).toBe(before);
  });
});

test("/healthz says what is known", async () => {
  const health = (await (await fetch(`${running.ownUrl}/healthz`)).json()) as Record<string, unknown>;
  expect(health).toMatchObject({ status: "healthy", connected: true, routes: { live: true }, spool: { dropped: 0 } });
  expect((await fetch(`${running.ownUrl}/health/live`)).status).toBe(200);
});

describe("/metrics", () => {
  const read = (credential?: string, headers: Record<string, string> = {}) =>
    fetch(`${running.ownUrl}/metrics`, {
      headers: { ...headers, ...(credential !== undefined && { authorization: `Bearer ${credential}` }) },
    });

  test("counts calls, for administrators and for who has METRICS_TOKEN", async () => {
    await addRoutes(routeTo("echo", [], { ref: "echo-1", deploymentId: "deployment-echo" }));
    await call("/mcp/echo/v1/mcp", rpc("tools/call", "shout"));
    const administrator = await controlPlane.accessToken("root", "ADMIN", ["ADMIN"]);
    for (const credential of ["a-token-for-scrapers", administrator]) {
      const answer = await read(credential);
      expect(answer.status).toBe(200);
      const metrics = await answer.text();
      expect(metrics).toMatch(/^mcp_requests_total\{method="POST",status="200"\} [1-9]/m);
      expect(metrics).toContain("mcp_request_duration_seconds_bucket");
      expect(metrics).toMatch(/^mcp_tool_calls_total\{tool="echo",deployment="echo-1",outcome="ok"\} [1-9]/m);
      expect(metrics).not.toContain("shout");
    }
    routes.pop();
    controlPlane.setRoutes(routes);
    await eventually("the deployment that has ended is left out", async () => {
      const metrics = await (await read("a-token-for-scrapers")).text();
      return metrics.includes("mcp_tool_calls_total") && !metrics.includes("echo-1");
    });
  });

  test.each([
    ["nobody, who is on this host", () => undefined, 401],
    ["somebody with a wrong token", () => "a-token-for-scraper?", 401],
    ["who may only call tools", () => token, 403],
  ])("are not for %s", async (_who, credential, status) => {
    for (const headers of [{}, { "x-forwarded-for": "127.0.0.1", "x-real-ip": "127.0.0.1" }]) {
      const answer = await read(credential(), headers);
      expect(answer.status).toBe(status);
      expect(answer.headers.get("www-authenticate")).toBe(status === 401 ? "Bearer" : null);
      expect((await problemOf(answer)).detail).not.toContain("mcp_");
    }
  });
});
