import { readdirSync } from "node:fs";
import { join } from "node:path";
import Fastify from "fastify";
import { expect, test } from "vitest";
import { loadRoutes, type RouteContext } from "./route.ts";

/** Routes are made, and none is asked. */
const context = {
  config: { metricsToken: null, exposePlans: false, protection: { maxBatch: 0 } },
  jwks: async () => ({ keys: [] }),
  page: {},
  protocols: {},
  proxy: { url: "http://127.0.0.1:1", prefix: "", token: async () => "" },
  onRevoked: () => () => undefined,
} as unknown as RouteContext;

async function urlsWith(overrides: Partial<RouteContext> = {}): Promise<string[]> {
  const urls: string[] = [];
  const app = Fastify();
  app.decorate("direct", ({ url }) => void urls.push(url));
  app.addHook("onRoute", ({ url, method }) => void (method === "HEAD" || urls.push(url)));
  await loadRoutes(app, { ...context, ...overrides });
  await app.close();
  return urls;
}

test("each file of routes/ has routes, and what is not served has none", async () => {
  const all = await urlsWith();
  for (const url of [
    "/graphql/assets/*",
    "/",
    "/graphql/stream",
    "/graphql",
    "/graphql/*",
    "/health",
    "/health/live",
    "/health/ready",
    "/.well-known/jwks.json",
    "/metrics",
    "/mcp/*",
    "/api/v1/mcps/:tool_id",
    "/api/openapi.json",
    "/api/docs",
    "/api/redoc",
  ])
    expect(all).toContain(url);
  const ofOtherGraphs = await urlsWith({ jwks: null });
  for (const url of ["/.well-known/jwks.json", "/api/v1/mcps/:tool_id", "/api/openapi.json", "/api/docs"])
    expect(ofOtherGraphs).not.toContain(url);
  expect(await urlsWith({ page: null })).not.toContain("/");
  expect(await urlsWith({ proxy: null })).not.toContain("/mcp/*");
  const files = readdirSync(join(import.meta.dirname, "routes")).filter((file) => !file.includes(".test."));
  expect(files.length).toBeLessThanOrEqual(all.length);
});
