import { IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import type { FastifyInstance } from "fastify";
import { expect, test } from "vitest";
import type { DirectRoute, RouteExchange } from "../direct-routes.ts";
import type { RouteContext } from "../route.ts";
import githubWebhook from "./github-webhook.ts";

test("where no deliveries are taken, it is said before anything of one is read", async () => {
  const routes: DirectRoute[] = [];
  const asked: string[] = [];
  const gate = {
    inspect: ({ query }: { query: string }) => (asked.push(query), {}),
    execute: () =>
      Promise.resolve({ errors: [{ message: "No secret.", extensions: { code: "PRECONDITION_FAILED" } }] }),
  };
  const app = { direct: (route: DirectRoute) => routes.push(route) };
  const context = { gate, jwks: {}, contextOf: () => ({}) } as unknown as RouteContext;
  await githubWebhook(app as unknown as FastifyInstance, context);
  const request = new IncomingMessage(new Socket());
  Object.assign(request.headers, {
    "x-hub-signature-256": `sha256=${"0".repeat(64)}`,
    "x-github-event": "push",
    "x-github-delivery": "1",
    "content-length": String(25 * 1_048_576),
  });
  request.push(Buffer.alloc(1_000));
  const exchange = {
    request,
    response: new ServerResponse(request),
    gone: {},
    headers: {},
  } as unknown as RouteExchange;
  await expect(routes[0]?.handle(exchange)).rejects.toMatchObject({ code: "PRECONDITION_FAILED" });
  expect(asked).toEqual([expect.stringMatching(/^query /)]);
  expect(request.readableLength).toBe(1_000);
});
