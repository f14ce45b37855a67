import { describe } from "vitest";
import { standInFront } from "@toolyard/proxy/fixtures/proxy.ts";
import { startGatewayInFront } from "../fixtures/gateway-in-front.ts";

/* The proxy's own tests, whose clients call the gateway: they get the same. */

standInFront(startGatewayInFront);

describe.each([
  ["proxy", () => import("@toolyard/proxy/proxy.test.ts")],
  ["MCP clients", () => import("@toolyard/proxy/mcp-clients.test.ts")],
  ["public URL", () => import("@toolyard/proxy/public-url.test.ts")],
  ["refusals for MCP clients", () => import("@toolyard/proxy/mcp/mcp-refusals.test.ts")],
  ["round trips", () => import("@toolyard/proxy/mcp/round-trips.test.ts")],
  ["redirects", () => import("@toolyard/proxy/calls/redirects.test.ts")],
  ["expiring streams", () => import("@toolyard/proxy/calls/expiring-streams.test.ts")],
  ["servers of HTTP+SSE", () => import("@toolyard/proxy/legacy/legacy.test.ts")],
  ["usage", () => import("@toolyard/proxy/usage/usage-outcome.test.ts")],
  ["two users", () => import("@toolyard/proxy/two-users.property.test.ts")],
])("through the gateway: %s", async (_name, load) => {
  await load();
});
