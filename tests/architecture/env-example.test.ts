import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseGatewayConfig } from "@toolyard/gateway/config.ts";
import { parseProxyConfig } from "@toolyard/proxy/config.ts";
import { parseEnvironment } from "@toolyard/service-kit";
import { partsBySecret } from "@toolyard/service-kit/process/part-secrets.ts";
import { parseSecretKeys } from "@toolyard/service-kit/process/process-config.ts";
import { parseDeploymentsConfig } from "@toolyard/subgraph-deployments/config.ts";
import { parseIdentityConfig } from "@toolyard/subgraph-identity/config.ts";
import { partVariables } from "@toolyard/subgraph-host/part.ts";
import { parseToolsConfig } from "@toolyard/subgraph-tools/config.ts";
import { expect, test } from "vitest";
import { partsVariables } from "../../distributed/parts.ts";
import { ownVariables } from "../../standalone/own-variables.ts";

/** What turns on whatever is off without it, so that its variables are read as well. */
const given: Record<string, string> = {
  PROXY_CREDENTIAL: "a.b.c",
  OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:4318",
  APOLLO_KEY: "service:graph:key",
  APOLLO_GRAPH_REF: "graph@current",
};

/** Everybody's. */
const unlisted = ["NODE_ENV"];

/** What every part makes of an environment. */
function parseAll(env: Record<string, string>): object[] {
  return [
    parseGatewayConfig(env),
    parseProxyConfig(env),
    // As standalone has it.
    parseDeploymentsConfig(env, { replicasOnExit: "stop" }),
    parseIdentityConfig(env),
    parseToolsConfig(env),
    parseEnvironment({ ...ownVariables, ...partsVariables, RUN_TASKS: partVariables(0).RUN_TASKS }, env),
  ];
}

function variablesRead(): Set<string> {
  const read = new Set<string>();
  const env = new Proxy(given, {
    get(values, name: string) {
      read.add(name);
      return values[name];
    },
  });
  parseAll(env);
  parseSecretKeys(env);
  return read;
}

/** The names that a text has, those written as `PREFIX_{ONE,OTHER}`, too. */
function namesIn(text: string): Set<string> {
  const whole = text.replaceAll(/([A-Z_]+_)\{([A-Z_,]+)\}/g, (_, prefix: string, parts: string) =>
    parts
      .split(",")
      .map((part) => prefix + part)
      .join(" "),
  );
  return new Set(whole.match(/\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*\b/g));
}

const example = readFileSync(join(import.meta.dirname, "../../.env.example"), "utf8");

test("every variable that is read is in .env.example", () => {
  const told = namesIn(example);
  // It says of these that there is one for each of the others.
  const nameOf = (name: string) => name.replace(/^OTEL_EXPORTER_OTLP_TRACES_/, "OTEL_EXPORTER_OTLP_");
  const missing = [...variablesRead()].filter((name) => !told.has(nameOf(name)) && !unlisted.includes(name));
  expect(missing).toEqual([]);
});

test("every variable that .env.example sets is read", () => {
  const set = [...example.matchAll(/^#?([A-Z][A-Z0-9_]*)=/gm)].flatMap(([, name]) => name ?? []);
  const read = variablesRead();
  expect(set.filter((name) => !read.has(name))).toEqual([]);
  expect(set.length).toBeGreaterThan(50);
});

test("every secret may lie in a file", () => {
  const read = variablesRead();
  // OpenTelemetry's are read as its specification says, which has no such files.
  const secrets = [...read].filter(
    (name) =>
      /SECRET|PASSWORD|TOKEN$|CREDENTIAL|KEY|(DATABASE|MONGODB|REDIS)_URL$/.test(name) && !/^OTEL_|_FILE$/.test(name),
  );
  expect(secrets).toEqual(expect.arrayContaining(["SECRET_KEY", "ADMIN_PASSWORD", "PROXY_CREDENTIAL", "APOLLO_KEY"]));
  expect(secrets.filter((name) => !read.has(`${name}_FILE`))).toEqual([]);
  // And is told to some parts only.
  expect(secrets.filter((name) => !partsBySecret.has(name))).toEqual([]);
  expect([...partsBySecret.keys()].filter((name) => !read.has(name))).toEqual([]);
});

test("what .env.example sets is what holds where nothing is set", () => {
  expect.addEqualityTesters([(a, b) => (typeof a === "function" && typeof b === "function" ? true : undefined)]);
  const set = Object.fromEntries(
    [...example.matchAll(/^([A-Z][A-Z0-9_]*)=(.*)$/gm)].map(([, name = "", value = ""]) => [name, value]),
  );
  expect(Object.keys(set).length).toBeGreaterThan(30);
  expect(parseAll({ ...given, ...set })).toEqual(parseAll(given));
});
