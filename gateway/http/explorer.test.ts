import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createGraphiqlPage } from "./explorer.ts";

const servers: Server[] = [];
let url: string;
let foreignUrl: string;

async function serve(login: boolean): Promise<string> {
  const page = createGraphiqlPage({ login });
  const server = createServer((request, response) => {
    const exchange = { request, response, headers: {}, path: request.url ?? "" };
    void (request.url === "/graphql" ? page.send(exchange) : page.sendAsset(exchange));
  });
  servers.push(server);
  await once(server.listen(0, "127.0.0.1"), "listening");
  // `listen` on a TCP port answers an AddressInfo.
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/graphql`;
}

beforeAll(async () => {
  [url, foreignUrl] = [await serve(true), await serve(false)];
});
afterAll(() => {
  for (const server of servers) server.close();
});

/** Addresses in a file of the page's own, as a browser makes them whole. */
const addressesIn = (text: string, base: string) =>
  [...text.matchAll(/(?:src|href|from)(?:=| )"([^"]+)"/g)].map(([, address = ""]) => new URL(address, base).href);

describe("the page at /graphql", () => {
  test("has all that it and its scripts name, from its own server", async () => {
    const own = addressesIn(await (await fetch(url)).text(), url).filter((address) => !address.startsWith("data:"));
    expect(own.length).toBeGreaterThan(6);
    const scripts = [...own];
    for (const address of scripts) {
      expect(address.startsWith(`${url}/assets/`)).toBe(true);
      const answer = await fetch(address);
      expect([address, answer.status]).toEqual([address, 200]);
      const text = await answer.text();
      // The bundles of packages import nothing.
      if (/\/(page|session|transport|first-queries)\.js$/.test(address))
        scripts.push(...addressesIn(text, address).filter((found) => !scripts.includes(found)));
    }
    expect(scripts.some((address) => address.endsWith("/first-queries.js"))).toBe(true);
    expect((await fetch(`${url}/assets/../../config.ts`)).status).toBe(404);
    expect((await fetch(`${url}/assets/constructor`)).status).toBe(404);
  });

  test("may run, ask and be shown by nothing else", async () => {
    for (const address of [url, `${url}/assets/page.js`]) {
      const { headers } = await fetch(address);
      const policy = headers.get("content-security-policy") ?? "";
      for (const rule of ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"])
        expect(policy.split("; ")).toContain(rule);
    }
  });

  test("is asked for again, and sent again when it has changed", async () => {
    const address = `${url}/assets/page.js`;
    const first = await fetch(address);
    const etag = first.headers.get("etag") ?? "";
    expect(first.headers.get("cache-control")).toBe("no-cache");
    expect((await fetch(address, { headers: { "if-none-match": etag } })).status).toBe(304);
    expect((await fetch(address, { headers: { "if-none-match": `W/${etag}` } })).status).toBe(304);
    expect((await fetch(address, { headers: { "if-none-match": '"of another version"' } })).status).toBe(200);
  });

  test("has no form for a password where the graph has no login", async () => {
    expect(await (await fetch(url)).text()).not.toContain("data-login");
    expect(await (await fetch(foreignUrl)).text()).toContain('<html data-login="none"');
  });
});
