import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { loadRoutes, type RouteContext } from "./route.ts";

/** Routes are made, and none is asked. */
const context = { jwks: async () => ({ keys: [] }), metricsToken: null } as unknown as RouteContext;

test("each file of routes/ has routes, and what is not served has none", async () => {
  const urls = async (jwks: RouteContext["jwks"]) =>
    (await loadRoutes({ ...context, jwks, isClosing: () => false })).map(({ url }) => url);
  const all = await urls(context.jwks);
  expect(all).toEqual(["/health", "/health/live", "/health/ready", "/.well-known/jwks.json", "/metrics"]);
  expect(await urls(null)).not.toContain("/.well-known/jwks.json");
  expect(readdirSync(join(import.meta.dirname, "routes")).length).toBeLessThanOrEqual(all.length);
});
