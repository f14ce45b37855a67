import { expect, test } from "vitest";
import { kubernetes } from "./index.ts";

test.each([
  [{ MCP_NAMESPACE: "Mcp_Servers" }, "MCP_NAMESPACE"],
  [{ KUBERNETES_CLUSTER_ENDPOINT: "http://10.0.0.1:6443" }, "KUBERNETES_CLUSTER_ENDPOINT"],
  [{ MCP_NODE_SELECTOR: "disk=ssd,zone" }, "MCP_NODE_SELECTOR"],
  [{ MCP_TOLERATIONS: '[{"key":"mcp","operator":"Sometimes"}]' }, "MCP_TOLERATIONS"],
  [{ MCP_TOLERATIONS: "key=mcp" }, "MCP_TOLERATIONS"],
  [{ MCP_REGISTRY_LOGINS: "registry,Other" }, "MCP_REGISTRY_LOGINS"],
  [{ MCP_RUN_AS_USER: "0" }, "MCP_RUN_AS_USER"],
])("%j is refused", (env, name) => {
  expect(() => kubernetes.configure?.(env)).toThrow(name);
});

test("lists are separated by commas, tolerations are JSON", () => {
  const env = {
    MCP_NODE_SELECTOR: "disk=ssd, kubernetes.io/arch=amd64",
    MCP_TOLERATIONS: '[{"key":"mcp","operator":"Exists"}]',
    MCP_REGISTRY_LOGINS: "one,two",
  };
  expect(kubernetes.configure?.(env).settings).toMatchObject({
    MCP_NAMESPACE: "mcp-servers",
    MCP_NODE_SELECTOR: ["disk=ssd", "kubernetes.io/arch=amd64"],
    MCP_TOLERATIONS: [{ key: "mcp", operator: "Exists" }],
    MCP_REGISTRY_LOGINS: ["one", "two"],
  });
});
