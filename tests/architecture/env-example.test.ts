import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseGatewayConfig } from "@toolyard/gateway/config.ts";
import { parseProxyConfig } from "@toolyard/proxy/config.ts";
import { parseEnvironment } from "@toolyard/service-kit";
import { misspeltVariables } from "@toolyard/service-kit/process/config.ts";
import { partsBySecret } from "@toolyard/service-kit/process/part-secrets.ts";
import { parseSecretKeys } from "@toolyard/service-kit/process/process-config.ts";
import { parseDeploymentsConfig } from "@toolyard/subgraph-deployments/config.ts";
import { parseIdentityConfig } from "@toolyard/subgraph-identity/config.ts";
import { partVariables } from "@toolyard/subgraph-host/part.ts";
import { parseToolsConfig } from "@toolyard/subgraph-tools/config.ts";
import { expect, test } from "vitest";
import { z } from "zod";
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

/** What is usually set, by systems, container engines, Kubernetes and CI, and is not meant for Toolyard. */
const others =
  "HOST HOME PORT LANG SHELL PATH USER LOGNAME HOSTNAME HOSTTYPE HOST_IP HOST_NAME TERM PWD TMPDIR EDITOR DISPLAY XDG_DATA_DIRS XDG_DATA_HOME XDG_CACHE_HOME XDG_RUNTIME_DIR " +
  "HTTP_PROXY HTTPS_PROXY NO_PROXY PROXY_HOST NODE_ENV NODE_OPTIONS NODE_PATH NODE_VERSION INIT_CWD POD_NAME POD_IP NODE_NAME KUBERNETES_PORT KUBERNETES_SERVICE_HOST " +
  "REDIS_PORT REDIS_HOST REDIS_PASSWORD MYSQL_HOST MYSQL_PASSWORD MYSQL_DATABASE DATABASE_HOST DATABASE_PORT DATABASE_NAME DB_URL GATEWAY_PORT GATEWAY_HOST " +
  "CI GITHUB_ENV GITHUB_JOB GITHUB_PATH GITHUB_SHA GITHUB_REPOSITORY GITHUB_RUN_ID GITHUB_SERVER_URL GITHUB_ACTIONS RUNNER_TEMP AWS_REGION SSH_AUTH_SOCK INVOCATION_ID " +
  "OTEL_METRICS_EXPORTER OTEL_LOGS_EXPORTER OTEL_EXPORTER_OTLP_METRICS_ENDPOINT OTEL_SDK_DISABLED";

/** What is said where only `names` are set, and beside them what turns on the rest. */
function misspeltBeside(names: readonly string[]): string[] {
  // Of values that each variable takes, all of which count.
  const env = { ...given };
  parseAll(env);
  parseSecretKeys(env);
  return misspeltVariables(Object.assign(env, Object.fromEntries(names.map((name) => [name, "1"]))));
}

test("what is usually set, and each variable where another part alone reads it, is not taken for a misspelt one", () => {
  expect(misspeltBeside(others.split(" "))).toEqual([]);
  const read = [...variablesRead()];
  for (const name of read) {
    const env = { [name]: "1" };
    parseEnvironment(Object.fromEntries(read.filter((other) => other !== name).map((other) => [other, z.any()])), env);
    expect(misspeltVariables(env)).toEqual([]);
  }
});

test("a name that is like a variable's is told with it, never its value", () => {
  const names = [
    "DATABASE_URI",
    "MONGO_URL",
    "REDIS_URI",
    "CORS_ORIGIN",
    "DATADIR",
    "SECRET_KEYS",
    "RATE_LIMITS_ENABLED",
  ];
  expect(misspeltBeside(names)).toEqual(
    ["DATABASE_URL", "MONGODB_URL", "REDIS_URL", "CORS_ORIGINS", "DATA_DIR", "SECRET_KEY", "RATE_LIMIT_ENABLED"].map(
      (meant, at) => `${names[at]} is no variable of Toolyard; did you mean ${meant}?`,
    ),
  );
  // Where it is set as well, the other is another program's.
  expect(misspeltBeside(["DATABASE_URI", "DATABASE_URL"])).toEqual([]);
  expect(misspeltBeside(["DATABASE_URI", "DATABASE_URL_FILE"])).toEqual([]);
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
