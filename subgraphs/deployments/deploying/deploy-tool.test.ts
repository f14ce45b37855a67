import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { createSealer, createServiceCaller, createUserCaller } from "@toolyard/service-kit";
import { eventually } from "@toolyard/testing/eventually.ts";
import { describe, expect, test } from "vitest";
import { admin, createFixture, proxy, SECRET_KEY, type Fixture } from "../deployments-fixture.ts";
import { launchSchema } from "@toolyard/launch";

const DEPLOY = `mutation ($input: DeployToolInput!) { deployTool(input: $input) { id name configuration runtime } }`;
const sealer = createSealer({ secretKey: SECRET_KEY });

interface Deployed {
  id: string;
  name: string;
  configuration: unknown;
  runtime: string;
}
const deploy = async (fixture: Fixture, input: Record<string, unknown> = {}): Promise<Deployed> =>
  (await fixture.run<{ deployTool: Deployed }>(DEPLOY, { input: { toolId: "tool-1", ...input } })).deployTool;
const statusOf = async (fixture: Fixture, id: string): Promise<{ status: string; reason: string | null }> =>
  (
    await fixture.run<{ deployment: { status: string; reason: string | null } }>(
      `query ($id: ID!) { deployment(id: $id) { status reason } }`,
      { id },
    )
  ).deployment;

describe("what a replica is given", () => {
  const configSchema = {
    type: "object",
    properties: {
      city: { type: "string" },
      days: { type: "integer", default: 3 },
      apiKey: { type: "string", writeOnly: true },
    },
    required: ["city"],
  };
  const launch = {
    kind: "stdio",
    command: "server",
    args: ["--city", "${config.city}", "--days=${config.days}"],
    env: [
      { name: "API_KEY", value: "${config.apiKey}", secret: false },
      { name: "TOKEN", value: sealer.seal("the secret", "tool-1-v1"), secret: true },
    ],
  };

  test("is the launch with its secrets opened and the configuration put in; clients see neither", async () => {
    await using fixture = await createFixture({ tools: { "tool-1": { slug: "weather", launch, configSchema } } });
    const deployed = await deploy(fixture, { configuration: { city: "Bern", apiKey: "k3y" } });
    expect(deployed.configuration).toEqual({ city: "Bern", days: 3, apiKey: null });
    const [spec] = await eventually(
      "it runs",
      async () => fixture.runtime.running().length === 1 && fixture.runtime.running(),
    );
    expect(spec?.launch).toMatchObject({
      args: ["--city", "Bern", "--days=3"],
      env: { API_KEY: "k3y", TOKEN: "the secret", CONFIG_JSON: '{"city":"Bern","apiKey":"k3y","days":3}' },
    });
    const { events } = (
      await fixture.run<{ deployment: { events: unknown } }>(
        `query ($id: ID!) { deployment(id: $id) { events { edges { node { kind message data } } } } }`,
        { id: deployed.id },
      )
    ).deployment;
    expect(JSON.stringify(events)).not.toMatch(/k3y|the secret/);
  });

  test.each([
    ["of today", true, "${config.city}"],
    ["of before there was an escape", undefined, "$Bern"],
  ])("is what a launch %s says where a dollar is doubled", async (_when, escapes, expected) => {
    const text = "$${config.city}";
    const env = [{ name: "SEALED", value: sealer.seal(text, "tool-1-v1"), secret: true }];
    const launch = { kind: "stdio", command: "server", args: [text], env, escapes };
    await using fixture = await createFixture({ tools: { "tool-1": { slug: "weather", launch, configSchema } } });
    await deploy(fixture, { configuration: { city: "Bern", apiKey: "k3y" } });
    const [spec] = await eventually(
      "it runs",
      async () => fixture.runtime.running().length === 1 && fixture.runtime.running(),
    );
    expect(spec?.launch).toMatchObject({ args: [expected], env: { SEALED: expected } });
  });

  test("is refused when the configuration does not fit, with every problem", async () => {
    await using fixture = await createFixture({ tools: { "tool-1": { slug: "weather", launch, configSchema } } });
    expect(await fixture.codeOf(DEPLOY, { input: { toolId: "tool-1", configuration: { days: "many" } } })).toBe(
      "BAD_USER_INPUT",
    );
  });

  test("is without the texts whose property the schema does not require, where it has no value", async () => {
    const optional = {
      ...launch,
      args: ["--city=${config.city}", "--key=${config.apiKey}"],
      env: launch.env.slice(0, 1),
    };
    await using fixture = await createFixture({
      tools: {
        "tool-1": {
          slug: "weather",
          launch: optional,
          configSchema: { ...configSchema, properties: { ...configSchema.properties, apiKey: { type: "string" } } },
        },
      },
    });
    await deploy(fixture, { configuration: { city: "Bern" } });
    const [spec] = await eventually(
      "it runs",
      async () => fixture.runtime.running().length === 1 && fixture.runtime.running(),
    );
    expect(spec?.launch).toMatchObject({ args: ["--city=Bern"] });
    expect(spec?.launch).not.toHaveProperty("env.API_KEY");
  });

  test("is refused where a property is used that the schema does not have", async () => {
    const properties = { city: { type: "string" } };
    await using fixture = await createFixture({
      tools: { "tool-1": { slug: "weather", launch, configSchema: { ...configSchema, properties } } },
    });
    await expect(deploy(fixture, { configuration: { city: "Bern" } })).rejects.toThrow(
      /input\.configuration\.apiKey: is needed: the variable API_KEY of the launch uses it/,
    );
  });
});

test("a launch that wants approval enforced, registered while that was still taken, is refused: nothing enforces it", async () => {
  const launch = { kind: "stdio", command: "server", options: { enforceApproval: true } };
  await using fixture = await createFixture({
    tools: { "tool-1": { slug: "weather", launch: launchSchema.parse(launch) } },
  });
  await expect(deploy(fixture)).rejects.toThrow(
    "Launches with enforceApproval are not part of this version of Toolyard.",
  );
});

test("a writeOnly value in an argument is refused: everybody on the host reads command lines", async () => {
  const configSchema = {
    properties: { login: { anyOf: [{ $ref: "#/$defs/login" }] } },
    $defs: { login: { writeOnly: true } },
  };
  const launch = { kind: "http", command: "server", args: ["serve", "--login=${config.login}"] };
  await using fixture = await createFixture({ tools: { "tool-1": { slug: "weather", launch, configSchema } } });
  await expect(deploy(fixture, { configuration: { login: "me:k3y" } })).rejects.toThrow(
    /launch\.http\.args\.1: holds \$\{config\.login\}, .* put it into env, or let the server read CONFIG_JSON/,
  );
});

describe("what cannot be deployed", () => {
  test.each<[string, Record<string, unknown>, string]>([
    ["an unknown tool", { toolId: "nothing" }, "NOT_FOUND"],
    ["a deleted tool", { toolId: "deleted" }, "NOT_FOUND"],
    ["an image without docker", { toolId: "image" }, "BAD_USER_INPUT"],
    ["a runtime that is not here", { toolId: "tool-1", runtime: "DOCKER" }, "BAD_USER_INPUT"],
    ["too many replicas", { toolId: "tool-1", replicas: 17 }, "BAD_USER_INPUT"],
    ["fewer than none", { toolId: "tool-1", replicas: -1 }, "BAD_USER_INPUT"],
    ["a canary", { toolId: "tool-1", strategy: "CANARY" }, "PRECONDITION_FAILED"],
    ["bounds the wrong way round", { toolId: "tool-1", autoscale: { min: 2, max: 1 } }, "BAD_USER_INPUT"],
    ["a bound of none", { toolId: "tool-1", autoscale: { max: 0 } }, "BAD_USER_INPUT"],
    ["a remote server by load", { toolId: "remote", autoscale: {} }, "BAD_USER_INPUT"],
    ["a remote server at a private address", { toolId: "private" }, "BAD_USER_INPUT"],
    ["a remote server twice", { toolId: "remote", replicas: 2 }, "BAD_USER_INPUT"],
  ])("%s", async (_name, input, code) => {
    await using fixture = await createFixture({
      tools: {
        "tool-1": { slug: "weather" },
        deleted: { slug: "deleted", deleted: true },
        image: { slug: "image", launch: { kind: "image", image: "ghcr.io/x/y" } },
        private: { slug: "private", launch: { kind: "remote", url: "http://169.254.169.254/latest" } },
        remote: { slug: "remote", launch: { kind: "remote", url: "https://example.com/mcp" } },
      },
      // The mock runtime runs images; the process runtime does not.
      runtimes: (mock) => [{ ...mock, capabilities: { ...mock.capabilities, launches: ["stdio", "http"] } }],
      overrides: { isPortFree: async () => true },
    });
    expect(await fixture.codeOf(DEPLOY, { input })).toBe(code);
    const { deployments } = await fixture.run<{ deployments: { totalCount: number } }>(
      `{ deployments { totalCount } }`,
    );
    expect(deployments.totalCount).toBe(0);
  });
});

test("a launch with an egress list goes to a runtime that holds it, also where none is said, and to no other", async () => {
  await using fixture = await createFixture({
    tools: { held: { slug: "held", launch: { kind: "stdio", command: "a", options: { egress: { allow: [] } } } } },
    runtimes: (mock) => [
      { ...mock, kind: "PROCESS", capabilities: { ...mock.capabilities, egress: false } },
      { ...mock, kind: "DOCKER" },
    ],
    overrides: { isPortFree: async () => true },
  });
  expect(await fixture.codeOf(DEPLOY, { input: { toolId: "held", runtime: "PROCESS" } })).toBe("BAD_USER_INPUT");
  const { deployTool } = await fixture.run<{ deployTool: { runtime: string } }>(
    "mutation ($input: DeployToolInput!) { deployTool(input: $input) { runtime } }",
    { input: { toolId: "held" } },
  );
  expect(deployTool.runtime).toBe("DOCKER");
});

test("a remote server is probed and routed, never started, and its headers go to proxies only", async () => {
  const server = createServer(
    (request, response) => void response.writeHead(request.headers["x-key"] === "the secret" ? 200 : 401).end(),
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // It listens on a host and port.
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    const headers = [{ name: "x-key", value: sealer.seal("the secret", "tool-1-v1"), secret: true }];
    const launch = {
      kind: "remote",
      url: `${origin}/`,
      secretUrl: sealer.seal(`${origin}/api/mcp?apiKey=k3y`, "tool-1-v1"),
      paths: ["/files"],
      headers,
      options: { health: { livenessPath: "/live" } },
    };
    await using fixture = await createFixture({
      tools: { "tool-1": { slug: "far", launch } },
      config: { allowPrivateRemotes: true },
    });
    const { id, runtime } = await deploy(fixture, { balance: "STICKY" });
    expect(runtime).toBe("REMOTE");
    await eventually("RUNNING", async () => (await statusOf(fixture, id)).status === "RUNNING");
    expect(fixture.runtime.running()).toEqual([]);
    const { routes } = await fixture.run<{ routes: { routes: unknown[] } }>(
      `{ routes { routes { ref balance mcpPath paths targets { url token ready remote mcpTarget headers { name value } } } } }`,
      {},
      proxy,
    );
    expect(routes.routes[0]).toEqual({
      ref: "",
      balance: "STICKY",
      mcpPath: "/mcp",
      paths: ["/files"],
      targets: [
        {
          url: origin,
          token: "",
          ready: true,
          remote: true,
          mcpTarget: "/api/mcp?apiKey=k3y",
          headers: [{ name: "x-key", value: "the secret" }],
        },
      ],
    });
    await fixture.run(`mutation ($id: ID!) { stopDeployment(id: $id) { id } }`, { id });
    await eventually("STOPPED", async () => (await statusOf(fixture, id)).status === "STOPPED");
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test("what failed for good is tried again by a restart", async () => {
  let broken = true;
  await using fixture = await createFixture({
    faultOf: () => (broken ? { failToStart: { code: "BAD_USER_INPUT", message: "No such command." } } : {}),
  });
  const { id } = await deploy(fixture, { replicas: 2 });
  await eventually("FAILED", async () => (await statusOf(fixture, id)).status === "FAILED");
  broken = false;
  await fixture.run(`mutation ($id: ID!) { restartDeployment(id: $id) { id } }`, { id });
  await eventually("RUNNING", async () => (await statusOf(fixture, id)).status === "RUNNING");
});

test("lists are filtered, entities are found by either key, and a tool knows where it is called", async () => {
  await using fixture = await createFixture({ tools: { "tool-1": { slug: "weather" }, "tool-2": { slug: "news" } } });
  const { id, name } = await deploy(fixture);
  await deploy(fixture, { toolId: "tool-2", environment: "STAGING" });
  const { deployments } = await fixture.run<{
    deployments: { edges: { node: { toolId: string } }[]; totalCount: number };
  }>(`{ deployments(environment: STAGING) { totalCount edges { node { toolId } } } }`);
  expect(deployments).toEqual({ totalCount: 1, edges: [{ node: { toolId: "tool-2" } }] });
  const representations = [
    { __typename: "Deployment", name },
    { __typename: "Deployment", id },
    { __typename: "Tool", id: "tool-1" },
    { __typename: "Tool", id: "tool-2" },
  ];
  const { _entities } = await fixture.run<{ _entities: unknown[] }>(
    `query ($representations: [_Any!]!) { _entities(representations: $representations) { ... on Deployment { id name } ... on Tool { mcpUrl deployments { totalCount } } } }`,
    { representations },
    createServiceCaller("gateway", []),
  );
  expect(_entities).toEqual([
    { id, name },
    { id, name },
    { mcpUrl: "http://127.0.0.1:4100/mcp/weather/v1/mcp", deployments: { totalCount: 1 } },
    { mcpUrl: null, deployments: { totalCount: 1 } },
  ]);
});

test("what belongs to later versions says so, to those who might", async () => {
  await using fixture = await createFixture();
  const promote = `mutation { promoteToProduction(input: { toolId: "tool-1", approvalToken: "x" }) { id } }`;
  expect(await fixture.codeOf(promote, {}, admin)).toBe("PRECONDITION_FAILED");
  expect(await fixture.codeOf(promote, {}, createUserCaller("viewer", "VIEWER"))).toBe("FORBIDDEN");
  expect(await fixture.run(`{ releases { totalCount } release(id: "x") { id } }`)).toEqual({
    releases: { totalCount: 0 },
    release: null,
  });
});
