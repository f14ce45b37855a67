import { expect, test } from "vitest";
import { parseDeploymentsConfig } from "./config.ts";

test("nothing set means the embedded defaults", () => {
  expect(parseDeploymentsConfig({})).toMatchObject({
    backend: "process",
    portRange: { first: 8100, last: 8200 },
    hostId: null,
    advertiseHost: "127.0.0.1",
    proxyUrl: "http://127.0.0.1:4100",
    allowPrivateRemotes: false,
    replicasOnExit: "keep",
    isolation: "auto",
  });
  expect(parseDeploymentsConfig({}, { replicasOnExit: "stop" }).replicasOnExit).toBe("stop");
  expect(parseDeploymentsConfig({ REPLICAS_ON_EXIT: "keep" }, { replicasOnExit: "stop" }).replicasOnExit).toBe("keep");
});

test.each([
  ["MCP_DEPLOYMENT_BACKEND", "docker"],
  ["MCP_DEPLOYMENT_BACKEND", "nomad"],
  ["MCP_PORT_RANGE", "8200-8100"],
  ["MCP_PORT_RANGE", "80-90"],
  ["MCP_PORT_RANGE", "many"],
  ["HOST_ID", "a b"],
  ["PROXY_URL", "ftp://x"],
  ["ALLOW_PRIVATE_REMOTES", "yes"],
  ["REPLICAS_ON_EXIT", "maybe"],
  ["PROCESS_ISOLATION", "jail"],
])("%s=%s stops the start with a message that names it", (name, value) => {
  expect(() => parseDeploymentsConfig({ [name]: value })).toThrow(new RegExp(`^${name}: .+ \\(it is "${value}"\\)`));
});
