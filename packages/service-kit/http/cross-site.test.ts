import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { describe, expect, test } from "vitest";
import { createCrossSitePolicy } from "./cross-site.ts";
import { createHostPolicy } from "./hosts.ts";

const STUDIO = "https://studio.apollographql.com";
const policy = createCrossSitePolicy(createHostPolicy({ listenHost: "127.0.0.1", origins: [STUDIO], hosts: [] }));

function requestOf(method: string, headers: IncomingHttpHeaders): IncomingMessage {
  // All that the policy reads of a request.
  return { method, headers: { host: "localhost:4000", ...headers } } as IncomingMessage;
}

describe("a preflight of an allowed page", () => {
  // What Apollo's Sandbox and clients send.
  const asked = "apollo-require-preflight,apollographql-client-name,authorization,content-type,x-apollo-operation-id";
  const preflight = (more: IncomingHttpHeaders = {}) =>
    requestOf("OPTIONS", {
      origin: STUDIO,
      "access-control-request-method": "POST",
      "access-control-request-headers": asked,
      ...more,
    });

  test("may send the headers it asks for, with cookies or without", () => {
    expect(() => policy.check(preflight())).not.toThrow();
    expect(policy.preflightHeaders(preflight())).toMatchObject({
      "access-control-allow-origin": STUDIO,
      "access-control-allow-credentials": "true",
      "access-control-allow-headers": asked,
      "access-control-allow-methods": expect.stringContaining("POST"),
    });
  });

  test("may reach into a private network when it asks, and hears nothing of that when it does not", () => {
    const header = "access-control-allow-private-network";
    expect(policy.preflightHeaders(preflight({ "access-control-request-private-network": "true" }))[header]).toBe(
      "true",
    );
    expect(policy.preflightHeaders(preflight())).not.toHaveProperty(header);
  });
});

describe("a page of another origin", () => {
  const foreign = { origin: "https://evil.example", "access-control-request-private-network": "true" };

  test("is refused, its preflight as well, and is allowed nothing", () => {
    for (const method of ["OPTIONS", "POST", "GET"])
      expect(() => policy.check(requestOf(method, foreign))).toThrow(/origin may not call/);
    const headers = policy.preflightHeaders(requestOf("OPTIONS", foreign));
    expect(headers).not.toHaveProperty("access-control-allow-origin");
    expect(headers).not.toHaveProperty("access-control-allow-private-network");
  });

  test("cannot make a browser ask without CORS, but may link to the page", () => {
    expect(() =>
      policy.check(requestOf("GET", { "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors" })),
    ).toThrow(/CSRF/);
    expect(() =>
      policy.check(requestOf("GET", { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate" })),
    ).not.toThrow();
  });

  test("a name that is not served here is refused", () => {
    expect(() => policy.check(requestOf("POST", { host: "rebound.example" }))).toThrow(/host name/);
  });
});
