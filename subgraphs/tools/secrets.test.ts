import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { createSealer, createServiceCaller, createUserCaller, type Caller } from "@toolyard/service-kit";
import { codeOf, dataOf, executeOn } from "@toolyard/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  CREATE,
  SECRET_KEY,
  UPDATE,
  admin,
  createToolsFixture,
  developer,
  otherDeveloper,
  viewer,
  type CreatedTool,
  type ToolsFixture,
} from "./fixtures/subgraph.ts";
import type { ShownVariable, StoredLaunch } from "@toolyard/launch";

let fixture: ToolsFixture;
beforeAll(async () => {
  fixture = await createToolsFixture();
});
afterAll(() => fixture[Symbol.asyncDispose]());

const deployments = createServiceCaller("deployments", ["internal:sealed-launch"]);
const env = [
  { name: "OPEN", value: "for all" },
  { name: "TOKEN", value: "s3cr3t-value", secret: true },
];
const launchWith = (variables: object[]) => ({ stdio: { command: "node", env: variables } });

async function create(launch: object, extra: object = {}): Promise<CreatedTool> {
  const input = { name: "Secretive", description: "", launch, ...extra };
  return (await dataOf<{ createTool: CreatedTool }>(fixture.subgraph, CREATE, { input }, developer)).createTool;
}

const changeLaunch = (id: string, launch: object) =>
  executeOn<{ updateTool: CreatedTool }>(fixture.subgraph, UPDATE, { id, input: { launch } }, developer);

interface SealedAnswer {
  sealedLaunch: {
    toolId: string;
    versionId: string;
    slug: string;
    number: number;
    digest: string;
    launch: StoredLaunch;
  };
}
const SEALED = `query ($id: ID!, $n: Int) { sealedLaunch(toolId: $id, versionNumber: $n) { toolId versionId slug number digest launch configSchema } }`;

async function openedEnv(id: string, secretKey = SECRET_KEY, n: number | null = null): Promise<Record<string, string>> {
  const { sealedLaunch } = await dataOf<SealedAnswer>(fixture.subgraph, SEALED, { id, n }, deployments);
  const sealer = createSealer({ secretKey });
  if (sealedLaunch.launch.kind === "remote") throw new Error("not a launch with an environment");
  return Object.fromEntries(
    sealedLaunch.launch.env.map(({ name, value, secret }) => [
      name,
      secret ? sealer.open(value, sealedLaunch.versionId) : value,
    ]),
  );
}

describe("the environment of a launch", () => {
  const query = `query ($id: ID) { tool(id: $id) { launch { ... on StdioLaunch { env { name value secret } } }
    version(number: 1) { launch { ... on StdioLaunch { env { name value secret } } } } } }`;
  async function shownTo(caller: Caller, id: string): Promise<Record<string, string | null>> {
    type Shown = { env: ShownVariable[] };
    const { tool } = await dataOf<{ tool: { launch: Shown; version: { launch: Shown } } }>(
      fixture.subgraph,
      query,
      { id },
      caller,
    );
    expect(tool.version.launch).toEqual(tool.launch);
    return Object.fromEntries(tool.launch.env.map(({ name, value }) => [name, value]));
  }

  test("shows values to its author and administrators only, and secrets to nobody", async () => {
    const { id } = await create(launchWith(env));
    expect(await shownTo(developer, id)).toEqual({ OPEN: "for all", TOKEN: null });
    expect(await shownTo(admin, id)).toEqual({ OPEN: "for all", TOKEN: null });
    expect(await shownTo(otherDeveloper, id)).toEqual({ OPEN: null, TOKEN: null });
    expect(await shownTo(viewer, id)).toEqual({ OPEN: null, TOKEN: null });
    expect(await shownTo(deployments, id)).toEqual({ OPEN: null, TOKEN: null });
    expect(await shownTo(createUserCaller("user-developer", "DEVELOPER", ["INVOKE", "READ"]), id)).toEqual({
      OPEN: "for all",
      TOKEN: null,
    });
  });

  test("hides the headers of a remote launch alike", async () => {
    const headers = [
      { name: "Authorization", value: "Bearer s3cr3t", secret: true },
      { name: "X-Team", value: "blue" },
    ];
    const { id } = await create({ remote: { url: "https://example.com/mcp", headers } });
    const shown = (caller: Caller) =>
      dataOf(
        fixture.subgraph,
        `query ($id: ID) { tool(id: $id) { launch { ... on RemoteLaunch { headers { value } } } } }`,
        { id },
        caller,
      );
    expect(await shown(viewer)).toEqual({ tool: { launch: { headers: [{ value: null }, { value: null }] } } });
    expect(await shown(developer)).toEqual({ tool: { launch: { headers: [{ value: null }, { value: "blue" }] } } });
  });
});

describe("the URL of a remote launch", () => {
  const KEY = "k3y-in-the-url";
  const query = `query ($id: ID) { tool(id: $id) { launch { ... on RemoteLaunch { url urlSecret } }
    versions { edges { node { launch { ... on RemoteLaunch { url urlSecret } } changeSummary } } } } }`;
  const opened = async (id: string): Promise<string | null> => {
    const { sealedLaunch } = await dataOf<SealedAnswer>(fixture.subgraph, SEALED, { id, n: null }, deployments);
    const { launch, versionId } = sealedLaunch;
    if (launch.kind !== "remote" || launch.secretUrl === null) return null;
    expect(JSON.stringify(launch)).not.toContain(KEY);
    return createSealer({ secretKey: SECRET_KEY }).open(launch.secretUrl, versionId);
  };

  test.each([
    ["by itself where it has a query", `https://example.com/mcp?apiKey=${KEY}`, {}],
    ["where its author says so", `https://example.com/${KEY}/mcp`, { urlSecret: true }],
  ])("is sealed %s, and nobody is shown more than its host", async (_when, url, more) => {
    const { id } = await create({ remote: { url, ...more } });
    for (const caller of [viewer, otherDeveloper, developer, admin]) {
      const shown = await dataOf(fixture.subgraph, query, { id }, caller);
      expect(shown).toMatchObject({ tool: { launch: { url: "https://example.com/", urlSecret: true } } });
      expect(JSON.stringify(shown)).not.toContain(KEY);
    }
    expect(await opened(id)).toBe(url);
    for (const file of await readdir(fixture.dataDir))
      expect(await readFile(join(fixture.dataDir, file), "latin1")).not.toContain(KEY);
  });

  test("stays as it is in an update that leaves it out or repeats what is shown, and is replaced by another", async () => {
    const url = `https://example.com/mcp?apiKey=${KEY}`;
    const { id } = await create({ remote: { url } });
    const header = { name: "X-Team", value: "blue" };
    for (const given of [{}, { url: "https://example.com/", urlSecret: true }]) {
      const { errors } = await changeLaunch(id, { remote: { ...given, headers: [header] } });
      expect(errors).toEqual([]);
      expect(await opened(id)).toBe(url);
    }
    await changeLaunch(id, { remote: { url: `${url}-2`, headers: [header] } });
    expect(await opened(id)).toBe(`${url}-2`);
    const shown = await dataOf(fixture.subgraph, query, { id }, developer);
    expect(JSON.stringify(shown)).not.toContain(KEY);
  });

  test("must be given where there is none to keep", async () => {
    const input = { name: "Far", description: "", launch: { remote: {} } };
    const { errors } = await executeOn(fixture.subgraph, CREATE, { input }, developer);
    expect(errors).toMatchObject([{ extensions: { problems: [{ path: "input.launch.remote.url" }] } }]);
  });

  test("that its author calls no secret shows its query to those who may see the launch environment", async () => {
    const { id } = await create({ remote: { url: "https://example.com/mcp?tools=all", urlSecret: false } });
    const shown = async (caller: Caller) =>
      (await dataOf<{ tool: { launch: unknown } }>(fixture.subgraph, query, { id }, caller)).tool.launch;
    expect(await shown(viewer)).toEqual({ url: "https://example.com/mcp?…", urlSecret: false });
    expect(await shown(developer)).toEqual({ url: "https://example.com/mcp?tools=all", urlSecret: false });
  });
});

describe("the sealed launch", () => {
  test("hands secrets to the service sealed, with its version's id as context", async () => {
    const tool = await create(launchWith(env), { configSchema: { type: "object" } });
    const { sealedLaunch } = await dataOf<SealedAnswer>(fixture.subgraph, SEALED, { id: tool.id }, deployments);
    expect(sealedLaunch).toMatchObject({
      toolId: tool.id,
      versionId: tool.currentVersion.id,
      slug: tool.slug,
      number: 1,
      digest: tool.currentVersion.digest,
      configSchema: { type: "object" },
      launch: {
        kind: "stdio",
        command: "node",
        args: [],
        env: [
          { name: "OPEN", value: "for all", secret: false },
          { name: "TOKEN", value: expect.stringMatching(/^sealed:v1:/), secret: true },
        ],
        sessions: "ISOLATED",
        options: {
          timeoutSeconds: 30,
          maxConcurrentCalls: null,
          health: {
            livenessPath: null,
            readinessPath: null,
            startTimeoutSeconds: 60,
            intervalSeconds: 10,
            timeoutSeconds: 30,
            failureThreshold: 3,
            successThreshold: 1,
          },
          resources: null,
          enforceApproval: false,
        },
      },
    });
    expect(await openedEnv(tool.id)).toEqual({ OPEN: "for all", TOKEN: "s3cr3t-value" });
  });

  test("is for services with that permission only", async () => {
    const { id } = await create(launchWith(env));
    expect(await codeOf(fixture.subgraph, SEALED, { id })).toBe("UNAUTHENTICATED");
    expect(await codeOf(fixture.subgraph, SEALED, { id }, admin)).toBe("FORBIDDEN");
    expect(await codeOf(fixture.subgraph, SEALED, { id }, createServiceCaller("proxy", ["internal:routes"]))).toBe(
      "FORBIDDEN",
    );
  });

  test("is not there for unknown tools and versions, nor for a deleted tool", async () => {
    const { id } = await create(launchWith(env));
    expect(await codeOf(fixture.subgraph, SEALED, { id: "nowhere" }, deployments)).toBe("NOT_FOUND");
    expect(await codeOf(fixture.subgraph, SEALED, { id, n: 2 }, deployments)).toBe("NOT_FOUND");
    await dataOf(fixture.subgraph, `mutation ($id: ID!) { deleteTool(id: $id) { id } }`, { id }, developer);
    const { errors } = await executeOn(fixture.subgraph, SEALED, { id }, deployments);
    expect(errors).toMatchObject([{ code: "NOT_FOUND", message: expect.stringContaining("Restore it first") }]);
  });
});

describe("a secret", () => {
  test("is nowhere in the store in plain", async () => {
    await create(launchWith([{ name: "TOKEN", value: "needle-in-the-store", secret: true }]));
    const files = await readdir(fixture.dataDir);
    expect(files).toContain("tools.sqlite");
    for (const file of files) {
      expect((await readFile(join(fixture.dataDir, file))).includes("needle-in-the-store"), file).toBe(false);
    }
  });

  test("keeps its value in an update that leaves it out, sealed anew for the new version", async () => {
    const { id } = await create(launchWith(env));
    const { data } = await changeLaunch(
      id,
      launchWith([
        { name: "TOKEN", secret: true },
        { name: "OPEN", value: "changed" },
      ]),
    );
    expect(data?.updateTool.currentVersion).toMatchObject({ number: 2, changeSummary: "Changed launch (env.OPEN)" });
    expect(await openedEnv(id)).toEqual({ TOKEN: "s3cr3t-value", OPEN: "changed" });
    expect(await openedEnv(id, SECRET_KEY, 1)).toEqual({ TOKEN: "s3cr3t-value", OPEN: "for all" });
  });

  test("that is changed makes another digest and another version, named but not shown", async () => {
    const tool = await create(launchWith(env));
    const { data } = await changeLaunch(
      tool.id,
      launchWith([env[0] ?? {}, { name: "TOKEN", value: "other", secret: true }]),
    );
    expect(data?.updateTool.currentVersion).toMatchObject({ number: 2, changeSummary: "Changed launch (env.TOKEN)" });
    expect(data?.updateTool.currentVersion.digest).not.toBe(tool.currentVersion.digest);
  });

  test("without a value and without an earlier one is refused where it stands", async () => {
    const launch = launchWith([
      { name: "OPEN", value: "1" },
      { name: "NEW", secret: true },
    ]);
    const variables = { input: { name: "X", description: "", launch } };
    const problem = { path: "input.launch.stdio.env.1.value" };
    expect((await executeOn(fixture.subgraph, CREATE, variables, developer)).errors).toMatchObject([
      { code: "BAD_USER_INPUT", extensions: { problems: [problem] } },
    ]);
    const { id } = await create(launchWith(env));
    expect((await changeLaunch(id, launch)).errors).toMatchObject([
      { code: "BAD_USER_INPUT", extensions: { problems: [problem] } },
    ]);
    // What was not secret is not kept as a secret: its value was shown.
    expect((await changeLaunch(id, launchWith([{ name: "OPEN", secret: true }]))).errors).toMatchObject([
      { code: "BAD_USER_INPUT" },
    ]);
  });

  test("comes back with a reverted version", async () => {
    const { id } = await create(launchWith(env));
    await changeLaunch(id, launchWith([]));
    await dataOf(
      fixture.subgraph,
      `mutation ($id: ID!) { revertTool(id: $id, versionNumber: 1) { id } }`,
      { id },
      developer,
    );
    expect(await openedEnv(id)).toEqual({ OPEN: "for all", TOKEN: "s3cr3t-value" });
  });

  test("survives a rotation of the key, and what runs the same keeps its digest", async () => {
    const tool = await create(launchWith(env));
    const newKey = "another-secret-key-for-tests-9876543210";
    await fixture.reopen({ secretKeys: [newKey, SECRET_KEY] });
    try {
      const variables = { id: tool.id, input: { name: "Rotated", launch: launchWith(env) } };
      const { updateTool } = await dataOf<{ updateTool: CreatedTool }>(fixture.subgraph, UPDATE, variables, developer);
      expect(updateTool.currentVersion).toMatchObject({
        number: 2,
        changeSummary: "Changed name",
        digest: tool.currentVersion.digest,
      });
      expect(await openedEnv(tool.id, newKey)).toEqual({ OPEN: "for all", TOKEN: "s3cr3t-value" });
    } finally {
      await fixture.reopen();
    }
  });
});

describe("an argument that would hold a writeOnly value", () => {
  const configSchema = {
    type: "object",
    properties: { city: { type: "string" }, server: { $ref: "#/$defs/server" } },
    $defs: { server: { properties: { password: { type: "string", writeOnly: true }, host: {} } } },
  };
  const launch = (args: string[]) => ({ stdio: { command: "node", args } });

  test.each(["--password=${config.server.password}", "${config.city}${config.server}"])(
    "as in %s is refused when a tool is made or changed: everybody on the host reads command lines",
    async (argument) => {
      const input = { name: "Secretive", description: "", launch: launch(["a", argument]), configSchema };
      const { errors } = await executeOn(fixture.subgraph, CREATE, { input }, developer);
      expect(errors).toMatchObject([
        {
          code: "BAD_USER_INPUT",
          extensions: {
            problems: [{ path: "input.launch.stdio.args.1", message: expect.stringContaining("CONFIG_JSON") }],
          },
        },
      ]);
      const { id } = await create(launch([argument]));
      const change = { id, input: { configSchema } };
      expect(await codeOf(fixture.subgraph, UPDATE, change, developer)).toBe("BAD_USER_INPUT");
    },
  );

  test("does not stand in the way of others", async () => {
    await create(launch(["${config.city}", "${config.server.host}"]), { configSchema });
  });
});

test("a doubled dollar is kept as it is written, and the launch says so, also for a secret that an update keeps", async () => {
  const text = "$${config.city}";
  const { id } = await create({
    stdio: { command: "node", args: [text], env: [{ name: "TOKEN", value: text, secret: true }] },
  });
  const launchNow = async () =>
    (await dataOf<SealedAnswer>(fixture.subgraph, SEALED, { id }, deployments)).sealedLaunch.launch;
  expect(await launchNow()).toMatchObject({ args: [text], escapes: true });
  await changeLaunch(id, { stdio: { command: "node", env: [{ name: "TOKEN", secret: true }] } });
  expect(await launchNow()).toMatchObject({ args: [], escapes: true });
  expect(await openedEnv(id)).toEqual({ TOKEN: text });
  await changeLaunch(id, { stdio: { command: "node", args: ["$${HOME}", "${config.city}"] } });
  expect(await launchNow()).not.toHaveProperty("escapes");
});
