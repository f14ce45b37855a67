import { describe, expect, test } from "vitest";
import { parseGatewayConfig } from "./config.ts";

describe("the schema is told", () => {
  test.each<[Record<string, string>, boolean]>([
    [{}, true],
    [{ NODE_ENV: "development" }, true],
    [{ NODE_ENV: "production" }, false],
    [{ NODE_ENV: "production", INTROSPECTION: "true" }, true],
    [{ INTROSPECTION: "false" }, false],
  ])("with %o: %s", (env, introspection) => {
    expect(parseGatewayConfig(env).introspection).toBe(introspection);
  });
});

test("a wrong value is refused with its name", () => {
  expect(() => parseGatewayConfig({ INTROSPECTION: "yes" })).toThrow(/INTROSPECTION: must be true or false/);
  expect(() => parseGatewayConfig({ SCHEMA_POLL_INTERVAL_MS: "5" })).toThrow(/SCHEMA_POLL_INTERVAL_MS/);
});

test("PUBLIC_URL is where pages come from and tools are called, unless PROXY_URL says where those are", () => {
  expect(parseGatewayConfig({ PUBLIC_URL: "https://example.com/toolyard/" })).toMatchObject({
    publicUrl: "https://example.com/toolyard",
    corsOrigins: ["https://example.com"],
    proxyUrl: "https://example.com/toolyard",
    proxyAddress: "http://127.0.0.1:4100",
  });
  const apart = { PUBLIC_URL: "https://example.com", PROXY_URL: "https://tools.example.com/mine" };
  expect(parseGatewayConfig(apart)).toMatchObject({
    proxyUrl: "https://tools.example.com/mine",
    proxyAddress: "https://tools.example.com/mine",
  });
  expect(parseGatewayConfig({})).toMatchObject({ publicUrl: null, corsOrigins: [], proxyUrl: "http://127.0.0.1:4100" });
});

test("headers that belong to one connection or one body are not passed on", () => {
  for (const name of ["Content-Length", "host", "connection", "Transfer-Encoding", "Accept-Encoding"])
    expect(() => parseGatewayConfig({ FORWARD_HEADERS: `x-tenant,${name}` })).toThrow(/FORWARD_HEADERS: may not name/);
  for (const name of ["X-Toolyard-Caller", "x_toolyard_caller", "X.Toolyard.User"])
    expect(() => parseGatewayConfig({ FORWARD_HEADERS: name })).toThrow(/FORWARD_HEADERS: may not name X-Toolyard/);
  expect(parseGatewayConfig({ FORWARD_HEADERS: "Authorization, X-Tenant" }).forwardHeaders).toEqual([
    "authorization",
    "x-tenant",
  ]);
});

test("what tokens must say is refused where nobody verifies them", () => {
  for (const name of ["JWT_ISSUER", "JWT_AUDIENCE"])
    expect(() => parseGatewayConfig({ [name]: "mine" }, { isAlone: true })).toThrow(new RegExp(`${name}: .*JWKS_URL`));
  expect(parseGatewayConfig({ JWT_ISSUER: "mine", JWKS_URL: "https://a.example/keys" }).jwt?.issuer).toBe("mine");
});

test("what runs queries is one of two, and what is compared a share", () => {
  expect(parseGatewayConfig({})).toMatchObject({ executor: "toolyard", shadowShare: 0 });
  expect(parseGatewayConfig({ EXECUTOR: "apollo", EXECUTOR_SHADOW: "0.01" })).toMatchObject({
    executor: "apollo",
    shadowShare: 0.01,
  });
  expect(() => parseGatewayConfig({ EXECUTOR: "hive" })).toThrow(/EXECUTOR: must be one of toolyard, apollo/);
  for (const share of ["2", "-1", "half"])
    expect(() => parseGatewayConfig({ EXECUTOR_SHADOW: share })).toThrow(
      /EXECUTOR_SHADOW: must be a number from 0 to 1/,
    );
});
