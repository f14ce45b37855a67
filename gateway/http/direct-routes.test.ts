import { once } from "node:events";
import { createServer, request as send, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { pipeline } from "node:stream/promises";
import { ToolyardError, createLogger } from "@toolyard/service-kit";
import { afterEach, expect, test } from "vitest";
import { createDirectRoutes, type DirectRoute } from "./direct-routes.ts";

let server: Server | null = null;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

const counted: unknown[][] = [];
const lines: unknown[] = [];

/** These routes on a server that answers 418 where there is none. */
async function serve(...routes: DirectRoute[]): Promise<string> {
  counted.length = lines.length = 0;
  const direct = createDirectRoutes({
    crossSite: {
      check({ headers }) {
        if (headers.origin === "http://evil.example") throw new ToolyardError("FORBIDDEN", "Not from there.");
      },
      headersFor: () => ({ vary: "Origin" }),
      preflightHeaders: () => ({ "access-control-max-age": "600" }),
    },
    metrics: { httpRequest: (...values) => void counted.push(values.slice(0, 3)) },
    tracing: null,
    log: ({ caller, describe }) => void lines.push({ caller, ...describe?.() }),
    logger: createLogger({ level: "silent", name: "test" }),
  });
  for (const route of routes) direct.add(route);
  server = createServer((request, response) => {
    if (!direct.serve(request, response)) response.writeHead(418).end();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  // `listen` on a TCP port answers an AddressInfo.
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A route that answers its own URL. */
const named = (url: string, more: Partial<DirectRoute> = {}): DirectRoute => ({
  url,
  handle: ({ response, headers }) => void response.writeHead(200, headers).end(url),
  ...more,
});

test("a path has the closest of the routes that hold it", async () => {
  const url = await serve(named("/mcp/*"), named("/mcp/own/*"), named("/mcp/own/page"));
  const found = async (path: string) => {
    const answer = await fetch(url + path);
    return answer.status === 418 ? null : answer.text();
  };
  expect(await found("/mcp")).toBe("/mcp/*");
  expect(await found("/mcp/a/b?c=/mcp/own")).toBe("/mcp/*");
  expect(await found("/mcp/own/a")).toBe("/mcp/own/*");
  expect(await found("/mcp/own/page?x")).toBe("/mcp/own/page");
  expect(await found("/mcp/own/page/?x")).toBe("/mcp/own/page");
  expect(await found("/mcp/own/page//")).toBe("/mcp/own/*");
  expect(await found("/mcpx")).toBeNull();
  await expect(serve(named("/mcp/*"), named("/mcp/*"))).rejects.toThrow(
    "Two routes of the gateway have the URL /mcp/*.",
  );
});

test("other methods than a route's are told so, OPTIONS are answered; one without methods gets them all", async () => {
  const url = await serve(named("/some", { methods: ["GET", "DELETE"] }), named("/any"));
  const refused = await fetch(`${url}/some`, { method: "PUT", body: "x" });
  expect([refused.status, refused.headers.get("allow")]).toEqual([405, "GET, DELETE, OPTIONS"]);
  expect(await refused.json()).toMatchObject({ status: 405, detail: "PUT is not possible here: send GET or DELETE." });
  const preflight = await fetch(`${url}/some`, { method: "OPTIONS" });
  expect([preflight.status, preflight.headers.get("access-control-max-age")]).toEqual([204, "600"]);
  for (const method of ["OPTIONS", "PUT"]) expect((await fetch(`${url}/any`, { method })).status).toBe(200);
});

test("bodies stream both ways at once, and who goes away is noticed", async () => {
  const left = Promise.withResolvers<string>();
  const url = await serve({
    url: "/echo/*",
    async handle({ request, response, gone }) {
      gone.signal.addEventListener("abort", () => left.resolve(String(gone.signal.reason)));
      await pipeline(request, response.writeHead(200));
    },
  });
  const sent = send(`${url}/echo/a`, { method: "POST" });
  sent.write("one");
  // The event of a response has it, its data are buffers without an encoding.
  const [answer] = (await once(sent, "response")) as [IncomingMessage];
  for (const word of ["one", "two"]) {
    const [part] = (await once(answer, "data")) as [Buffer];
    expect(part.toString()).toBe(word);
    sent.write("two");
  }
  answer.on("error", () => undefined);
  sent.destroy();
  expect(await left.promise).toContain("The client went away.");
});

test("errors are problems or what the route makes of them, and requests count by their route's URL", async () => {
  const failing = (): never => {
    throw new ToolyardError("RATE_LIMITED", "Slower.", { retryAfterSeconds: 7 });
  };
  const url = await serve(
    named("/bad", { handle: failing }),
    named("/worse/*", {
      async handle(exchange) {
        exchange.describe = () => ({ what: "worse" });
        failing();
      },
      fail: ({ response }) => void response.writeHead(400).end("own"),
    }),
  );
  const bad = await fetch(`${url}/bad`, { headers: { "x-request-id": "mine" } });
  expect([bad.status, bad.headers.get("retry-after"), bad.headers.get("content-type")]).toEqual([
    429,
    "7",
    "application/problem+json",
  ]);
  expect(await bad.json()).toMatchObject({ code: "RATE_LIMITED", request_id: "mine" });
  expect(await (await fetch(`${url}/worse/secret`)).text()).toBe("own");
  expect((await fetch(`${url}/bad`, { headers: { origin: "http://evil.example" } })).status).toBe(403);
  await expect
    .poll(() => counted)
    .toEqual([
      ["GET", "/bad", 429],
      ["GET", "/worse/*", 400],
      ["GET", "/bad", 403],
    ]);
  expect(lines).toContainEqual({ caller: null, what: "worse" });
});
