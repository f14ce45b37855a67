import { parseGatewayConfig } from "@toolyard/gateway/config.ts";
import { parseEnvironment } from "@toolyard/service-kit";
import { parseDeploymentsConfig } from "@toolyard/subgraph-deployments/config.ts";
import { expect, test } from "vitest";
import { partsVariables, planParts } from "./parts.ts";

const SERVERS = { DATABASE_URL: "mysql://u:p@db/toolyard", REDIS_URL: "redis://cache", MONGODB_URL: "mongodb://docs" };

function plan(env: Record<string, string> = {}) {
  const given = { ...SERVERS, SECRET_KEY: "a secret key for tests, of enough characters", ...env };
  return planParts({
    env: given,
    root: "/toolyard",
    dataDir: "/data",
    config: parseGatewayConfig(given),
    counts: parseEnvironment(partsVariables, given),
    proxyMaxHeapMb: 100,
    proxyCredential: "a.b.c",
  });
}
const portsOf = (parts: readonly { name: string; port: number }[]) => parts.map(({ name, port }) => [name, port]);

test("without further variables there is one of each, on ports that do not meet", () => {
  const { subgraphs, workers, gateways, proxies } = plan();
  expect(portsOf(subgraphs).map(([name]) => name)).toEqual([
    "identity",
    "tools",
    "knowledge",
    "analysis",
    "deployments",
  ]);
  expect(portsOf([...workers, ...gateways, ...proxies])).toEqual([
    ["worker", 4206],
    ["gateway", 4000],
    ["proxy", 4100],
  ]);
});

test("each of several gateways and proxies has the next port, a number, and its own of the other kind", () => {
  const { gateways, proxies } = plan({ GATEWAYS: "3", PROXIES: "2", PORT: "5000", PROXY_PORT: "5100" });
  expect(portsOf([...gateways, ...proxies])).toEqual([
    ["gateway-1", 5000],
    ["gateway-2", 5001],
    ["gateway-3", 5002],
    ["proxy-1", 5100],
    ["proxy-2", 5101],
  ]);
  expect(gateways.map(({ env }) => env["PROXY_PORT"])).toEqual(["5100", "5101", "5100"]);
  expect(proxies.map(({ env }) => env["GATEWAY_URL"])).toEqual(["http://127.0.0.1:5000", "http://127.0.0.1:5001"]);
  expect(new Set(proxies.map(({ env }) => env["DATA_DIR"])).size).toBe(2);
});

test("two parts on one port are refused by the variable's name", () => {
  expect(() => plan({ GATEWAYS: "32", PORT: "4069" })).toThrow(
    /^PROXY_PORT: proxy would listen on port 4100, as gateway-32 does \(PORT\)/,
  );
  expect(() => plan({ PORT: "4300", GATEWAYS: "1", PROXY_PORT: "4300" })).toThrow(
    /^PROXY_PORT: proxy would listen on port 4300, as gateway does \(PORT\)/,
  );
  expect(() => plan({ PARTS_PORT: "65533" })).toThrow(/^PARTS_PORT: analysis would listen on port 65536/);
});

test("a load balancer before the gateways is asked in their place where GATEWAY_URL names it", () => {
  const { subgraphs, workers, proxies } = plan({ GATEWAY_URL: "http://127.0.0.1:80", PROXIES: "2" });
  for (const { env } of [...subgraphs, ...workers, ...proxies]) expect(env["GATEWAY_URL"]).toBe("http://127.0.0.1:80");
});

test("subgraphs and workers listen on this machine alone, and replicas are isolated as HOST asks for", () => {
  const { subgraphs, workers, gateways } = plan({ HOST: "0.0.0.0" });
  for (const { env, host } of [...subgraphs, ...workers])
    expect([env["HOST"], host]).toEqual(["127.0.0.1", "127.0.0.1"]);
  expect(gateways[0]?.host).toBe("0.0.0.0");
  const reachable = (env: Record<string, string> | undefined) => parseDeploymentsConfig(env ?? {}).reachable;
  expect(reachable(subgraphs.at(-1)?.env)).toBe(true);
  expect(reachable(plan().subgraphs.at(-1)?.env)).toBe(false);
});

test("subgraphs leave tasks to workers, and proxies are told no secret but their credential", () => {
  const { subgraphs, proxies } = plan();
  expect(subgraphs.map(({ env }) => env["RUN_TASKS"])).toEqual(subgraphs.map(() => "false"));
  expect(proxies[0]?.env["PROXY_CREDENTIAL"]).toBe("a.b.c");
  expect(JSON.stringify(proxies)).not.toMatch(/SECRET_KEY|DATABASE_URL|REDIS_URL|MONGODB_URL/);
});
