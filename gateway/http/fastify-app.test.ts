import { createServer } from "node:http";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { anonymous, createLogger, ToolyardError, type Caller } from "@toolyard/service-kit";
import { afterEach, expect, test } from "vitest";
import { createFastifyApp, type FastifyApp } from "./fastify-app.ts";

let running: FastifyApp["app"] | null = null;
const callers: (Caller | null)[] = [];
afterEach(() => running?.close());

async function serve(add: (app: FastifyApp["app"]) => void): Promise<string> {
  const { app, answerOtherMethods } = createFastifyApp({
    createServer: (handle) => createServer(handle),
    addDirect: () => undefined,
    crossSite: {
      check: () => undefined,
      headersFor: () => ({ vary: "Origin" }),
      preflightHeaders: () => ({ "access-control-max-age": "600" }),
    },
    prefix: "",
    hasRest: true,
    metrics: { httpRequest: () => undefined },
    log: ({ caller }) => void callers.push(caller),
    logger: createLogger({ level: "silent", name: "test" }),
  });
  running = app;
  await app.register(async (scope) => add(scope));
  answerOtherMethods();
  return app.listen({ host: "127.0.0.1", port: 0 });
}

test("the other methods of a route's URL are refused before a body is read, and OPTIONS answered", async () => {
  const url = await serve((app) => {
    app.get("/things/:id", async (request) => request.params);
    app.delete("/things/:id", async (_request, reply) => reply.code(204).send());
  });
  const things = `${url}/things/${"a".repeat(300)}`;
  for (const [method, status] of [
    ["GET", 200],
    ["HEAD", 200],
    ["DELETE", 204],
  ] as const)
    expect((await fetch(things, { method })).status).toBe(status);
  const refused = await fetch(things, { method: "PUT", body: "x".repeat(5_000) });
  expect([refused.status, refused.headers.get("allow"), refused.headers.get("vary")]).toEqual([
    405,
    "GET, HEAD, DELETE, OPTIONS",
    "Origin",
  ]);
  expect(await refused.json()).toMatchObject({
    code: "BAD_USER_INPUT",
    detail: "PUT is not possible here: send GET or HEAD or DELETE.",
  });
  const preflight = await fetch(things, { method: "OPTIONS" });
  expect([preflight.status, preflight.headers.get("allow")]).toEqual([204, "GET, HEAD, DELETE, OPTIONS"]);
  const elsewhere = await fetch(`${url}/nothing`, { method: "OPTIONS" });
  expect([elsewhere.status, elsewhere.headers.get("access-control-max-age")]).toEqual([204, "600"]);
});

test("bodies have limits and types of their own; what is wrong with them is said by status", async () => {
  const url = await serve((app) => {
    app.addContentTypeParser("text/csv", { parseAs: "string" }, (_request, body, done) => done(null, body));
    app.post("/small", async (request) => ({ got: request.body }));
    app.post("/large", { bodyLimit: 100_000 }, async (request) => ({ got: String(request.body).length }));
  });
  const post = (path: string, body: string, type = "application/json") =>
    fetch(url + path, { method: "POST", body, headers: { "content-type": type } });
  const statusOf = async (...given: Parameters<typeof post>) => (await post(...given)).status;
  expect(await (await post("/small", "a,b", "text/csv")).json()).toEqual({ got: "a,b" });
  expect(await statusOf("/small", JSON.stringify("x".repeat(2_000)))).toBe(413);
  expect(await statusOf("/large", JSON.stringify("x".repeat(2_000)))).toBe(200);
  expect(await statusOf("/small", "<a/>", "text/xml")).toBe(415);
  expect(await statusOf("/small", "{")).toBe(422);
});

test("a path that does not decode, or is as long as can be, is answered by its route", async () => {
  const url = await serve((app) => app.get("/things/:id", async (request) => request.params));
  for (const [id, read] of [
    ["%ff", "%ff"],
    ["%F0%9F%98%80", "\u{1F600}"],
    ["100%", "100%"],
    ["x".repeat(12_000), "x".repeat(12_000)],
  ])
    expect(await (await fetch(`${url}/things/${id}?q=%ff`)).json()).toEqual({ id: read });
  const nowhere = await fetch(`${url}/%ff`);
  expect([nowhere.status, nowhere.headers.get("vary")]).toEqual([404, "Origin"]);
  expect(nowhere.headers.get("content-type")).toMatch(/^application\/problem\+json/);
});

test.each([
  ["no request", "HELLO\r\n\r\n", 400],
  ["headers without end", `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${"x".repeat(20_000)}\r\n\r\n`, 431],
])("%s is refused as problem+json", async (_what, sent, status) => {
  const url = await serve(() => undefined);
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  socket.write(sent);
  const [head = "", body = ""] = (await text(socket)).split("\r\n\r\n");
  expect(head).toMatch(new RegExp(`^HTTP/1\\.1 ${status} [^]*content-type: application/problem\\+json`));
  expect(JSON.parse(body)).toMatchObject({ status, code: "BAD_USER_INPUT" });
});

test("the caller whom a route finds is in the request's line in the log", async () => {
  callers.length = 0;
  const url = await serve((app) => {
    app.get("/me", async (request) => {
      request.caller = anonymous;
      throw new ToolyardError("NOT_FOUND", "Nobody.");
    });
  });
  expect((await fetch(`${url}/me`)).status).toBe(404);
  await expect.poll(() => callers).toEqual([anonymous]);
});

test("a path has its route with a slash at its end and without; one that has none is told where to look", async () => {
  const url = await serve((app) => {
    app.get("/api/things/", async () => ["all"]);
    app.get("/api/things/:id", async (request) => request.params);
  });
  const read = async (path: string) => (await fetch(url + path)).json();
  for (const slash of ["", "/"]) {
    expect(await read(`/api/things${slash}?q=/`)).toEqual(["all"]);
    expect(await read(`/api/things/x${slash}`)).toEqual({ id: "x" });
  }
  const put = await fetch(`${url}/api/things/x/`, { method: "PUT" });
  expect([put.status, put.headers.get("allow")]).toEqual([405, "GET, HEAD, OPTIONS"]);
  expect(await read("/api/thing")).toMatchObject({ detail: "There is nothing here. REST is described at /api/docs." });
  expect(await read("/apis")).toMatchObject({
    detail: "There is nothing here. The graph is at /graphql, REST is described at /api/docs.",
  });
});
