import { expect, test } from "vitest";
import { parseDeploymentsConfig } from "./config.ts";

test("nothing set means the embedded defaults", () => {
  expect(parseDeploymentsConfig({})).toMatchObject({
    portRange: { first: 8100, last: 8200 },
    hostId: null,
    advertiseHost: "127.0.0.1",
    proxyUrl: "http://127.0.0.1:4100",
    allowPrivateRemotes: false,
    replicasOnExit: "keep-over-restart",
  });
  expect(parseDeploymentsConfig({}, { replicasOnExit: "stop" }).replicasOnExit).toBe("stop");
  expect(parseDeploymentsConfig({ REPLICAS_ON_EXIT: "keep" }, { replicasOnExit: "stop" }).replicasOnExit).toBe("keep");
});

test.each<[Record<string, string>, boolean]>([
  [{}, false],
  [{ HOST: "::1", PROXY_URL: "http://localhost:4100", CORS_ORIGINS: "http://127.0.0.1:3000" }, false],
  [{ ALLOWED_HOSTS: "localhost", TRUST_PROXY: "false" }, false],
  [{ HOST: "0.0.0.0" }, true],
  [{ HOST: "192.0.2.1" }, true],
  [{ PROXY_URL: "https://tools.example.com" }, true],
  [{ PUBLIC_URL: "https://tools.example.com/toolyard" }, true],
  [{ PUBLIC_URL: "https://localhost:8443/toolyard" }, false],
  [{ GATEWAY_URL: "http://10.0.0.2:4000" }, true],
  [{ CORS_ORIGINS: "http://localhost:3000, https://app.example.com" }, true],
  [{ ALLOWED_HOSTS: "toolyard.example.com" }, true],
  [{ TRUST_PROXY: "true" }, true],
])("%j: others can reach Toolyard: %s", (env, reachable) => {
  expect(parseDeploymentsConfig(env).reachable).toBe(reachable);
});

test("runtimes are those that are named, once each, and remote servers", () => {
  const count = (backend: string) => parseDeploymentsConfig({ MCP_DEPLOYMENT_BACKEND: backend }).runtimes.length;
  expect([count("process"), count("mock, process"), count("process,process")]).toEqual([2, 3, 2]);
});

test("every wrong variable is named, those of runtimes, too", () => {
  const env = { MCP_DEPLOYMENT_BACKEND: "process,nomad", MCP_PORT_RANGE: "many", PROCESS_ISOLATION: "jail" };
  expect(() => parseDeploymentsConfig(env)).toThrow(
    /^MCP_DEPLOYMENT_BACKEND: .*\nMCP_PORT_RANGE: .*\nPROCESS_ISOLATION: /,
  );
});

test.each([
  ["REPLICA_PATHS", "srv"],
  ["MCP_DEPLOYMENT_BACKEND", "remote"],
  ["MCP_DEPLOYMENT_BACKEND", "nomad"],
  ["MCP_PORT_RANGE", "8200-8100"],
  ["MCP_PORT_RANGE", "80-90"],
  ["MCP_PORT_RANGE", "many"],
  ["REPLICA_ENV", "HTTPS_PROXY,SECRET_KEY"],
  ["REPLICA_ENV", "DATABASE_URL_FILE"],
  ["HOST_ID", "a b"],
  ["PROXY_URL", "ftp://x"],
  ["ALLOW_PRIVATE_REMOTES", "yes"],
  ["REPLICAS_ON_EXIT", "maybe"],
  ["PROCESS_ISOLATION", "jail"],
])("%s=%s stops the start with a message that names it", (name, value) => {
  expect(() => parseDeploymentsConfig({ [name]: value })).toThrow(new RegExp(`^${name}: .+ \\(it is "${value}"\\)`));
});
