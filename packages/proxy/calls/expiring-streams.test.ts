import { eventually } from "@toolyard/testing";
import { decodeJwt } from "jose";
import { expect, test } from "vitest";
import { startControlPlane } from "../fixtures/control-plane.ts";
import { routeTo, startProxy } from "../fixtures/proxy.ts";
import { startUpstream } from "../fixtures/upstream.ts";

const LEFT_MS = 100;

test.each([
  ["a GET", undefined],
  ["subscriptions/listen", "subscriptions/listen"],
])("a stream that stands open (%s) ends when its caller's credential does, and no other", async (_name, mcpMethod) => {
  await using controlPlane = await startControlPlane();
  await using streaming = await startUpstream((_request, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write("data: 1\n\n");
  });
  controlPlane.setRoutes([routeTo("expiring", [streaming.url])]);
  controlPlane.addApiKey("ty_1_forever", { userId: "ada", role: "DEVELOPER", scopes: ["INVOKE"] });
  const token = await controlPlane.accessToken("ada");
  const expiresAt = (decodeJwt(token).exp ?? 0) * 1000;
  // The token is good for a quarter of an hour, and this proxy's clock is almost there, and stands.
  let now = expiresAt - LEFT_MS;
  await using running = await startProxy(controlPlane, { now: () => now });
  const ended = new AbortController();
  const stream = (credential: string) =>
    fetch(`${running.url}/mcp/expiring/v1/mcp`, {
      headers: { authorization: `Bearer ${credential}`, accept: "application/json, text/event-stream" },
      signal: ended.signal,
      ...(mcpMethod !== undefined && {
        method: "POST",
        body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: mcpMethod }),
      }),
    });
  const [expiring, lasting] = [await stream(token), await stream("ty_1_forever")];
  expect([expiring.status, lasting.status]).toEqual([200, 200]);
  now = expiresAt;
  expect(await expiring.text()).toBe("data: 1\n\n");
  await eventually("one of two streams at the replica", () => streaming.connections() === 1);
  expect((await stream(token)).status).toBe(401);
  const reader = lasting.body?.getReader();
  expect((await reader?.read())?.done).toBe(false);
  ended.abort();
});
