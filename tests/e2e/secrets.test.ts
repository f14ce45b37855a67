import { randomInt } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { eventually, freePort, graphqlClient, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import fc from "fast-check";
import {
  buildSchema,
  getNamedType,
  isCompositeType,
  isEnumType,
  isLeafType,
  isObjectType,
  isRequiredArgument,
} from "graphql";
import type { GraphQLArgument, GraphQLOutputType, GraphQLSchema } from "graphql";
import { createClient } from "graphql-ws";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";

const SEED = Number(process.env["SECRETS_SEED"] ?? randomInt(2 ** 31));
const SERVER = join(import.meta.dirname, "fixtures", "tells-its-secrets.mjs");
/** What servers say beside their secrets: for those who may inspect a deployment. */
const PRIVATE = "PRIVATE-WORDS";

/** Secrets of all shapes. Each begins and ends with letters that nothing else has. */
const [plain = "", odd = "", password = "", inUrl = "", inConfig = "", inList = "", inHeader = "", inPath = ""] =
  fc.sample(
    fc
      .tuple(
        fc.string({ minLength: 4, maxLength: 24, unit: fc.constantFrom(...Array.from("aZ09-_.~")) }),
        fc.string({ minLength: 6, maxLength: 6, unit: fc.constantFrom(...Array.from("bcdfghjkmnpqrstvwxz")) }),
      )
      .map(([text, unique]) => `${unique}${text}${unique.toUpperCase()}`),
    { seed: SEED, numRuns: 8 },
  );
const strange = `${odd}é"'\\ &<%/+=?\t${odd}`;
const pem = `-----BEGIN KEY-----\n${plain}/${plain}\n${password}+${password}==\n-----END KEY-----\n`;
const pin = 10_000_000 + (SEED % 89_999_999);

const configSchema = {
  type: "object",
  properties: { login: { $ref: "#/$defs/login" }, list: { prefixItems: [{}, { $ref: "#/$defs/secret" }] }, city: {} },
  $defs: {
    secret: { type: "string", writeOnly: true },
    login: {
      type: "object",
      properties: { pin: { writeOnly: true } },
      patternProperties: { "^k": { $ref: "#/$defs/secret" } },
    },
  },
};
const configuration = { login: { key: inConfig, pin }, list: ["shown", inList], city: "Bern" };
const env = (mode: string) => [
  { name: "MODE", value: mode },
  { name: "GIVEN_PLAIN", value: plain, secret: true },
  { name: "GIVEN_STRANGE", value: strange, secret: true },
  { name: "GIVEN_PEM", value: pem, secret: true },
  { name: "GIVEN_URL", value: `postgres://me:${password}@db.example/x`, secret: true },
  { name: "GIVEN_JSON", value: JSON.stringify({ type: "account", private_key: pem }), secret: true },
  { name: "GIVEN_CONFIG", value: "Bearer ${config.login.key}" },
];

/** What must be nowhere. The middle of base64, which does not depend on what stands before. */
const needles = [plain, odd, password, inUrl, inConfig, inList, inHeader, inPath, String(pin)].flatMap((secret) => {
  const forms = [secret, encodeURIComponent(secret), Buffer.from(secret).toString("hex")];
  for (const before of ["", "u", "us", "use"])
    forms.push(
      Buffer.from(before + secret)
        .toString("base64")
        .slice(8, -4),
    );
  return forms.filter((form) => form.length >= 6);
});
const leaksIn = (text: string): string[] => needles.filter((needle) => text.includes(needle));

let toolyard: RunningToolyard;
let remote: Server;
/** By role, with what they read. */
const tokens: Record<string, string | undefined> = { anonymous: undefined };
const deployed: { mode: string; id: string; toolId: string; slug: string; taskId: string }[] = [];

async function register(username: string): Promise<string> {
  const { register: registered } = await graphqlClient(toolyard.url).query<{ register: { accessToken: string } }>(
    "mutation ($input: RegisterInput!) { register(input: $input) { accessToken } }",
    { input: { username, email: `${username}@example.com`, password: "seven plucky walnuts" } },
  );
  return registered.accessToken;
}

beforeAll(async () => {
  const ports = { gateway: await freePort(), proxy: await freePort() };
  toolyard = await startToolyard({ ports, env: { REGISTRATION_ROLE: "VIEWER" } });
  await register("vera");
  const { dataDir } = toolyard;
  const first = toolyard;
  await first.stop();
  const proxySecret = `${password.toUpperCase()}-of-the-host`;
  toolyard = await startToolyard({
    ports,
    dataDir,
    env: {
      REGISTRATION_ROLE: "DEVELOPER",
      ALLOW_PRIVATE_REMOTES: "true",
      LOG_LEVEL: "debug",
      HTTPS_PROXY: `http://me:${proxySecret}@127.0.0.1:9`,
      REPLICA_ENV: "HTTPS_PROXY",
    },
  });
  needles.push(proxySecret);
  tokens["viewer"] = await logIn(toolyard.url, "vera", "seven plucky walnuts");
  tokens["other developer"] = await register("otto");
  tokens["owner"] = await register("dora");
  tokens["admin"] = await logIn(toolyard.url, "admin", toolyard.adminPassword);

  // It answers with all that it is sent.
  remote = createServer((request, response) => {
    response.writeHead(500, { "content-type": "text/plain" });
    response.end(`${PRIVATE} ${request.url} ${JSON.stringify(request.headers)}`);
  });
  await new Promise<void>((resolve) => remote.listen(0, "127.0.0.1", resolve));
  // It listens on a host and port.
  const origin = `http://127.0.0.1:${(remote.address() as AddressInfo).port}`;

  const owner = graphqlClient(toolyard.url, tokens["owner"]);
  const health = { startTimeoutSeconds: 3, intervalSeconds: 1 };
  const program = { command: process.execPath, args: [SERVER], options: { health } };
  const launches: Record<string, object> = {
    ...Object.fromEntries(
      ["dies", "refuses", "list-error", "calls"].map((mode) => [mode, { stdio: { ...program, env: env(mode) } }]),
    ),
    http: { http: { ...program, env: env("http") } },
    remote: {
      remote: {
        url: `${origin}/${inPath}-${inPath}/mcp?apiKey=${inUrl}`,
        headers: [
          { name: "Authorization", value: `Bearer ${inHeader}`, secret: true },
          { name: "X-Key", value: "${config.login.key}" },
        ],
        options: { health },
      },
    },
  };
  for (const [mode, launch] of Object.entries(launches)) {
    const { createTool: tool } = await owner.query<{ createTool: { id: string; slug: string } }>(
      "mutation ($input: CreateToolInput!) { createTool(input: $input) { id slug } }",
      { input: { name: `Tells ${mode}`, description: "Tells its secrets", launch, configSchema } },
    );
    const { deployTool } = await owner.query<{ deployTool: { id: string } }>(
      "mutation ($input: DeployToolInput!) { deployTool(input: $input) { id } }",
      { input: { toolId: tool.id, configuration } },
    );
    deployed.push({ mode, id: deployTool.id, toolId: tool.id, slug: tool.slug, taskId: "" });
  }
  const reasonsOf = async () => {
    const found = await owner.query<{ deployments: { edges: { node: { id: string; reason: string | null } }[] } }>(
      "{ deployments(first: 20) { edges { node { id reason } } } }",
    );
    return new Map(found.deployments.edges.map(({ node }) => [node.id, node.reason]));
  };
  // One that waits to be started again has a reason, one that is being started has not yet.
  const heard = new Set<string>(["calls", "remote"]);
  await eventually(
    "the owner reads what each server said",
    async () => {
      const reasons = await reasonsOf();
      for (const { mode, id } of deployed) if (reasons.get(id)?.includes(PRIVATE)) heard.add(mode);
      const silent = deployed.filter(({ mode }) => !heard.has(mode));
      if (silent.length > 0) throw new Error(silent.map(({ mode, id }) => `${mode}: ${reasons.get(id)}`).join("; "));
      return true;
    },
    90_000,
  );
  for (const one of deployed) {
    await fetch(`${toolyard.proxyUrl}/mcp/${one.slug}/v1/mcp`, mcp(tokens["owner"], "tools/call", { die: true }));
    const { suggestImprovements } = await owner.query<{ suggestImprovements: { id: string } }>(
      "mutation ($id: ID!) { suggestImprovements(toolId: $id) { id } }",
      { id: one.toolId },
    );
    one.taskId = suggestImprovements.id;
  }
});
afterAll(async () => {
  const { dataDir } = toolyard;
  await toolyard[Symbol.asyncDispose]();
  await import("node:fs/promises").then(({ rm }) => rm(dataDir, { recursive: true, force: true }));
  await new Promise((resolve) => remote.close(resolve));
});

function mcp(token: string | undefined, method: string, args: object = {}): RequestInit {
  return {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params: { name: "tell", arguments: args } }),
  };
}

const MAX_DEPTH = 5;

/** One operation for each field of Query that the ids can be given to, with all that can be selected below it. */
function operations(schema: GraphQLSchema): string[] {
  const argumentsFor = (args: readonly GraphQLArgument[], ids: Record<string, string>): string | null => {
    const given: string[] = [];
    for (const argument of args) {
      const type = getNamedType(argument.type);
      if (ids[argument.name] !== undefined) given.push(`${argument.name}: ${JSON.stringify(ids[argument.name])}`);
      else if (argument.name === "first" || argument.name === "last") given.push(`${argument.name}: 50`);
      else if (!isRequiredArgument(argument)) continue;
      else if (isEnumType(type)) given.push(`${argument.name}: ${type.getValues()[0]?.name}`);
      else if (type.name === "String") given.push(`${argument.name}: "tells"`);
      else return null;
    }
    return given.length === 0 ? "" : `(${given.join(", ")})`;
  };
  const select = (type: GraphQLOutputType, depth: number): string | null => {
    const named = getNamedType(type);
    if (isLeafType(named)) return "";
    if (depth === 0 || !isCompositeType(named)) return null;
    const types = isObjectType(named) ? [named] : schema.getPossibleTypes(named);
    const parts = types.map((one, index) => {
      const fields = Object.values(one.getFields()).flatMap((field) => {
        const below = select(field.type, depth - 1);
        const args = argumentsFor(field.args, {});
        // Two types of a union may have one name for fields of two types.
        return below === null || args === null
          ? []
          : [`${types.length > 1 ? `t${index}_${field.name}: ` : ""}${field.name}${args}${below}`];
      });
      return types.length > 1 ? `... on ${one.name} { __typename ${fields.join(" ")} }` : fields.join(" ");
    });
    return parts.join("") === "" ? null : ` { __typename ${parts.join(" ")} }`;
  };
  const subjects: Record<string, Record<string, string>[]> = {
    deployment: deployed.map(({ id }) => ({ id })),
    tool: deployed.map(({ toolId }) => ({ id: toolId })),
    task: deployed.map(({ taskId }) => ({ id: taskId })),
  };
  return Object.values(schema.getQueryType()?.getFields() ?? {}).flatMap((field) =>
    (subjects[field.name] ?? [{}]).flatMap((ids) => {
      const args = argumentsFor(field.args, ids);
      if (args === null) return [];
      // As deep as its cost allows.
      return [MAX_DEPTH, MAX_DEPTH - 1, MAX_DEPTH - 2, 2].flatMap((depth) => {
        const below = select(field.type, depth);
        return below === null ? [] : [`{ ${field.name}${args}${below} }`];
      });
    }),
  );
}

/** All that a role can read. */
async function readAll(token: string | undefined): Promise<string> {
  const client = graphqlClient(toolyard.url, token);
  const schema = buildSchema(await readFile(join(import.meta.dirname, "../../schema/api.graphql"), "utf8"));
  const answers = await Promise.all(operations(schema).map((operation) => client.send(operation)));
  if (token !== undefined) expect(answers.filter(({ data }) => data).length).toBeGreaterThan(15);
  const streams = [
    'deploymentEvents(after: "0") { message data }',
    'deploymentHealth(after: "0") { check { kind detail } }',
    ...deployed.map(({ id }) => `deploymentLogs(deploymentId: "${id}") { text }`),
  ];
  const calls = [["tools/list"], ["tools/call"], ["tools/call", { die: true }]] as const;
  const seen = await Promise.all([
    ...streams.map((field) => streamed(token, `subscription { ${field} }`)),
    ...deployed.flatMap(({ slug }) =>
      calls.map(async ([method, args]) => {
        const answer = await fetch(`${toolyard.proxyUrl}/mcp/${slug}/v1/mcp`, mcp(token, method, args));
        return `${await answer.text()}\n${JSON.stringify([...answer.headers])}`;
      }),
    ),
  ]);
  return [JSON.stringify(answers), ...seen].join("\n");
}

/** What a subscription replays. */
async function streamed(token: string | undefined, query: string): Promise<string> {
  const client = createClient({
    url: `${toolyard.url.replace("http", "ws")}/graphql`,
    webSocketImpl: WebSocket,
    ...(token !== undefined && { connectionParams: { authorization: `Bearer ${token}` } }),
    retryAttempts: 0,
  });
  const seen: unknown[] = [];
  try {
    const ended = new Promise<void>((resolve) => {
      client.subscribe(
        { query },
        { next: (value) => seen.push(value), error: (error) => (seen.push(error), resolve()), complete: resolve },
      );
    });
    // Replays come at once, and then there may be nothing.
    // oxlint-disable-next-line no-restricted-globals -- nothing tells that a replay is over
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 1_500))]);
  } finally {
    await client.dispose();
  }
  return JSON.stringify(seen, (_key, value: unknown) => (value instanceof Error ? value.message : value));
}

describe(`what servers were given and tell (SECRETS_SEED=${SEED})`, () => {
  test.each(["anonymous", "viewer", "other developer", "owner", "admin"])(
    "is hidden from %s in all that they can read",
    async (role) => {
      const text = await readAll(tokens[role]);
      // HTTP and remote servers answer their callers themselves: only what goes through the bridge is Toolyard's.
      expect(leaksIn(withoutOwnAnswers(text))).toEqual([]);
    },
  );

  test.each(["anonymous", "viewer", "other developer"])(
    "and all else that they say is hidden from %s in the graph",
    async (role) => {
      const client = graphqlClient(toolyard.url, tokens[role]);
      const schema = buildSchema(await readFile(join(import.meta.dirname, "../../schema/api.graphql"), "utf8"));
      const answers = await Promise.all(operations(schema).map((operation) => client.send(operation)));
      const streams = await Promise.all(
        ['deploymentEvents(after: "0") { message data }', 'deploymentHealth(after: "0") { check { detail } }'].map(
          (field) => streamed(tokens[role], `subscription { ${field} }`),
        ),
      );
      expect(JSON.stringify([answers, streams])).not.toContain(PRIVATE);
    },
  );

  test("is in no file of DATA_DIR, but in what servers that speak HTTP themselves print", async () => {
    const own = deployed.filter(({ mode }) => mode === "http").map(({ slug }) => slug);
    const found: string[] = [];
    for (const entry of await readdir(toolyard.dataDir, { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name);
      if (!entry.isFile() || own.some((slug) => path.includes(`/replicas/${slug}-`))) continue;
      const text = await readFile(path, "latin1").catch(() => ""); // a log may go meanwhile
      if (leaksIn(text).length > 0) found.push(path);
    }
    expect(found).toEqual([]);
  });

  test("is in no command line, and in nothing that Toolyard prints", async () => {
    expect(leaksIn(toolyard.output())).toEqual([]);
    for (const pid of await readdir("/proc").catch(() => [])) {
      const line = /^\d+$/.test(pid) ? await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "") : "";
      expect(leaksIn(line)).toEqual([]);
    }
  });
});

/** Without answers that servers elsewhere, or of their own HTTP, gave to a call: these pass the proxy as they are. */
function withoutOwnAnswers(text: string): string {
  return text
    .split("\n")
    .filter((line) => !line.startsWith(PRIVATE) && !line.startsWith("Error: PRIVATE"))
    .join("\n");
}
