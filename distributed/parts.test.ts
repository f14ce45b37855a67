import { parseGatewayConfig } from "@toolyard/gateway/config.ts";
import { parseEnvironment } from "@toolyard/service-kit";
import { isSecretVariable } from "@toolyard/service-kit/process/part-secrets.ts";
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

test("subgraphs leave tasks to workers", () => {
  const { subgraphs } = plan();
  expect(subgraphs.map(({ env }) => env["RUN_TASKS"])).toEqual(subgraphs.map(() => "false"));
});

test("a part is told the secrets that it needs, by value or file, and no others", () => {
  const secrets = {
    SECRET_KEY_PREVIOUS: "an earlier key",
    METRICS_TOKEN: "a-token-of-enough-characters",
    ADMIN_PASSWORD_FILE: "/run/secrets/admin_password",
    GITHUB_TOKEN_FILE: "/run/secrets/github_token",
    GITHUB_WEBHOOK_SECRET: "a secret of webhooks",
    APOLLO_KEY: "service:graph:key",
    APOLLO_GRAPH_REF: "graph@current",
    OTEL_EXPORTER_OTLP_HEADERS: "api-key=x",
    WORKERS: "2",
  };
  const parts = plan(secrets);
  const told = Object.values(parts)
    .flat()
    .map(({ name, env }): [string, string[]] => [name, Object.keys(env).filter(isSecretVariable)]);
  const shared = ["SECRET_KEY", "SECRET_KEY_PREVIOUS", "DATABASE_URL", "REDIS_URL", "METRICS_TOKEN"];
  const documents = [...shared, "MONGODB_URL"];
  const wanted = {
    identity: [...shared, "ADMIN_PASSWORD_FILE"],
    tools: [...documents, "GITHUB_TOKEN_FILE", "GITHUB_WEBHOOK_SECRET"],
    knowledge: documents,
    analysis: [...documents, "GITHUB_TOKEN_FILE"],
    deployments: shared,
    gateway: [...shared, "APOLLO_KEY", "OTEL_EXPORTER_OTLP_HEADERS"],
    "worker-1": [...documents, "GITHUB_TOKEN_FILE"],
    "worker-2": [...documents, "GITHUB_TOKEN_FILE"],
    proxy: ["METRICS_TOKEN", "OTEL_EXPORTER_OTLP_HEADERS", "PROXY_CREDENTIAL"],
  };
  expect(Object.fromEntries(told.map(([name, names]) => [name, names.toSorted()]))).toEqual(
    Object.fromEntries(Object.entries(wanted).map(([name, names]) => [name, names.toSorted()])),
  );
  expect(parts.proxies[0]?.env["PROXY_CREDENTIAL"]).toBe("a.b.c");
});
