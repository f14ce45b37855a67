import { eventually } from "@toolyard/testing";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startControlPlane, type FakeControlPlane } from "../fixtures/control-plane.ts";
import { routeTo, startProxy, type RunningProxy } from "../fixtures/proxy.ts";
import { startUpstream, type Upstream } from "../fixtures/upstream.ts";

const SLUGS = ["alpha", "beta", "gamma"];
const REPLICAS = 2;

let controlPlane: FakeControlPlane;
let running: RunningProxy;
let token: string;
const upstreams: Upstream[] = [];

beforeAll(async () => {
  controlPlane = await startControlPlane();
  const routes = [];
  for (const slug of SLUGS) {
    const urls: string[] = [];
    for (let index = 0; index < REPLICAS; index += 1) {
      const upstream = await startUpstream((request, response) => {
        const status = Number(request.headers["x-answer"] ?? 200);
        if (status === 0) return void request.socket.destroy();
        response.writeHead(status, { "x-replica": `${slug}-${index}` });
        response.end(request.method === "HEAD" ? undefined : "answer");
      });
      upstreams.push(upstream);
      urls.push(upstream.url);
    }
    routes.push(routeTo(slug, urls), routeTo(slug, urls.slice(0, 1), { ref: `${slug}-one` }));
  }
  controlPlane.setRoutes(routes);
  running = await startProxy(controlPlane);
  token = await controlPlane.accessToken("ada");
});
afterAll(async () => {
  await running[Symbol.asyncDispose]();
  for (const upstream of upstreams) await upstream[Symbol.asyncDispose]();
  await controlPlane[Symbol.asyncDispose]();
});

const aCall = fc.record({
  slug: fc.constantFrom(...SLUGS),
  own: fc.boolean(),
  path: fc.constantFrom("/mcp", "/users/4711", "/"),
  method: fc.constantFrom("GET", "POST", "DELETE", "HEAD", "PUT"),
  tool: fc.option(fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 }), { nil: null }),
  // 0: the replica hangs up.
  answer: fc.constantFrom(200, 200, 202, 404, 500, 0),
});

test("a call reaches a replica of its slug and no other, and leaves one usage record that says what it was", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(aCall, { minLength: 1, maxLength: 6 }), async (calls) => {
      const before = controlPlane.records().length;
      const expected = await Promise.all(
        calls.map(async ({ slug, own, path, method, tool, answer }) => {
          const sends = method === "POST" || method === "PUT";
          const response = await fetch(`${running.url}/mcp/${slug}${own ? `@${slug}-one` : ""}/v1${path}`, {
            method,
            headers: { authorization: `Bearer ${token}`, "x-answer": String(answer) },
            ...(sends && {
              body: JSON.stringify({ method: tool === null ? "ping" : "tools/call", params: { name: tool } }),
            }),
          });
          await response.arrayBuffer();
          expect(response.status).toBe(answer === 0 ? 502 : answer);
          const replica = response.headers.get("x-replica");
          if (answer !== 0) expect(own ? [`${slug}-0`] : [`${slug}-0`, `${slug}-1`]).toContain(replica);
          const peeked = method === "POST";
          return JSON.stringify({
            toolId: `tool-${slug}`,
            deploymentId: `deployment-${slug}${own ? `-${slug}-one` : ""}`,
            endpoint: `/mcp/{slug}${own ? "@{deployment}" : ""}/v1${path === "/mcp" ? "/mcp" : "/{path}"}`,
            method,
            mcpMethod: peeked ? (tool === null ? "ping" : "tools/call") : null,
            mcpTool: peeked ? tool : null,
            statusCode: response.status,
            userId: "ada",
          });
        }),
      );
      await eventually("the records", () => controlPlane.records().length >= before + calls.length, 10_000);
      const found = controlPlane
        .records()
        .slice(before)
        .map(
          ({ toolId, deploymentId, endpoint, method, mcpMethod, mcpTool, statusCode, userId, at, responseTimeMs }) => {
            expect(new Date(at).toISOString()).toBe(at);
            expect(responseTimeMs).toBeGreaterThan(0);
            return JSON.stringify({ toolId, deploymentId, endpoint, method, mcpMethod, mcpTool, statusCode, userId });
          },
        );
      expect(found.toSorted()).toEqual(expected.toSorted());
    }),
    { numRuns: 100, endOnFailure: true },
  );
});
