import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
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

test("the settings that scripts/setup-k8s.sh prints keep processes, and say of each that is empty how it is filled in", async () => {
  const script = join(import.meta.dirname, "../../../scripts/setup-k8s.sh");
  const { stdout } = await promisify(execFile)(script, { env: { PATH: process.env["PATH"], KUBECTL: "echo" } });
  expect(stdout).toMatch(/^MCP_DEPLOYMENT_BACKEND=process,kubernetes$/m);
  const empty = /^# fill in: .*\n# {3}echo --namespace mcp-servers .*\n(\w+)=$/gm;
  const found = [...stdout.matchAll(empty)].map(([, name]) => name);
  expect(found).toEqual(["KUBERNETES_CA_FILE", "KUBERNETES_SERVICE_ACCOUNT_TOKEN"]);
  expect(stdout.match(/^\w+=$/gm)).toHaveLength(found.length);
});
