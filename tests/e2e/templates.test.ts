import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { connectMcp, eventually, graphqlClient, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

/** Of a package that is installed with Toolyard: no test needs a network. */
const entry = join(
  dirname(createRequire(import.meta.url).resolve("@modelcontextprotocol/server-everything/package.json")),
  "dist/index.js",
);
const GREETING = "hello ${config.greeting}";

let toolyard: RunningToolyard;
let folder: string;
let token: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "toolyard-templates-"));
  const launch = {
    stdio: {
      command: process.execPath,
      args: [entry, "stdio"],
      env: [
        { name: "GREETING", value: GREETING },
        { name: "KEY", value: "${config.key}" },
        { name: "OPTIONAL", value: "${config.optional}" },
      ],
    },
  };
  const configSchema = {
    type: "object",
    properties: {
      greeting: { type: "string", default: "world" },
      key: { type: "string", writeOnly: true },
      optional: { type: "string" },
    },
    required: ["key"],
    additionalProperties: false,
  };
  // JSON is YAML.
  await writeFile(
    join(folder, "everything-here.yaml"),
    JSON.stringify({ name: "Everything here", launch, configSchema }),
  );
  toolyard = await startToolyard({ env: { TEMPLATES_DIR: folder } });
  token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
});
afterAll(async () => {
  await toolyard?.[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

async function rest(method: string, path: string, body?: unknown, bearer = token) {
  const response = await fetch(`${toolyard.url}/api/templates${path}`, {
    method,
    headers: { authorization: `Bearer ${bearer}`, ...(body !== undefined && { "content-type": "application/json" }) },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const answer = await response.text();
  return {
    status: response.status,
    location: response.headers.get("location"),
    // What each route answers, as far as the tests look.
    body: (answer === "" ? null : JSON.parse(answer)) as Record<string, unknown>,
  };
}

describe("by REST", () => {
  test("a template is deployed in one call, runs, is listed and shown, and is stopped", async () => {
    const configuration = { greeting: "Bern", key: "s3cret-k3y" };
    const deployed = await rest("POST", "/deploy/everything-here/", { configuration });
    expect(deployed).toMatchObject({ status: 201, body: { tool_version: 1, environment: "PRODUCTION" } });
    const { name, tool_id: toolId } = deployed.body as { name: string; tool_id: string };
    expect(deployed.location).toBe(`/api/templates/deployments/${name}/`);
    await eventually("it runs", async () => (await rest("GET", `/deployments/${name}/`)).body["status"] === "RUNNING");

    const { data } = await graphqlClient(toolyard.url, token).send(
      "query ($id: ID!) { deployment(id: $id) { templateId template { name } configuration tool { templateId } } }",
      { id: deployed.body["id"] },
    );
    expect(data).toEqual({
      deployment: {
        templateId: "everything-here",
        template: { name: "Everything here" },
        configuration: { greeting: "Bern", key: null },
        tool: { templateId: "everything-here" },
      },
    });
    // The variable of the property that was left out is not there.
    const mcp = await connectMcp("v1", String(deployed.body["mcp_url"]), token);
    const environment = JSON.parse(await mcp.callTool("get-env", {})) as Record<string, string>;
    await mcp.close();
    expect(environment).toMatchObject({ GREETING: "hello Bern", KEY: "s3cret-k3y" });
    expect(environment).not.toHaveProperty("OPTIONAL");
    expect(JSON.stringify(deployed.body)).not.toContain("s3cret-k3y");

    // The same tool again.
    const again = await rest("POST", "/deploy/everything-here", { configuration: { key: "other" } });
    expect(again).toMatchObject({ status: 201, body: { tool_id: toolId, tool_version: 1 } });
    const listed = await rest("GET", "/deployments/?limit=1");
    expect(listed).toMatchObject({ status: 200, body: { total: 2, limit: 1, items: [{ name: again.body["name"] }] } });

    for (const each of [name, String(again.body["name"])]) {
      expect((await rest("DELETE", `/deployments/${each}/delete/`)).status).toBe(204);
      expect((await rest("GET", `/deployments/${each}`)).body["status"]).toMatch(/^STOPP(?:ING|ED)$/);
    }
  });

  test("what is no template's deployment is not there", async () => {
    const graph = graphqlClient(toolyard.url, token);
    const launch = { stdio: { command: process.execPath, args: [entry, "stdio"] } };
    const made = await graph.send<{ createTool: { id: string } }>(
      `mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }`,
      { input: { name: "By hand", description: "", launch } },
    );
    const { data } = await graph.send<{ deployTool: { name: string } }>(
      `mutation ($input: DeployToolInput!) { deployTool(input: $input) { name } }`,
      { input: { toolId: made.data.createTool.id, replicas: 0 } },
    );
    const { name } = data.deployTool;
    expect(await rest("GET", `/deployments/${name}/`)).toMatchObject({ status: 404, body: { code: "NOT_FOUND" } });
    expect(await rest("DELETE", `/deployments/${name}/delete/`)).toMatchObject({ status: 404 });
    const { body } = await rest("GET", "/deployments/?limit=100");
    expect((body["items"] as { name: string }[]).map((each) => each.name)).not.toContain(name);
  });

  test("templates are listed, searched and shown", async () => {
    const { body } = await rest("GET", "/?limit=100");
    const ids = (body["items"] as { id: string }[]).map(({ id }) => id);
    expect(ids).toEqual(expect.arrayContaining(["everything-here", "memory", "time"]));
    expect(await rest("GET", "?search=everything%20here")).toMatchObject({ body: { total: 1 } });
    expect(await rest("GET", "/everything-here")).toMatchObject({
      status: 200,
      body: {
        id: "everything-here",
        source: "CATALOGUE",
        config_schema: { required: ["key"] },
        launch: { stdio: { env: [{ name: "GREETING", value: GREETING, secret: false }, {}, {}] } },
      },
    });
  });

  test.each(["nothing", "..%2F..%2Fpackage", "%2e%2e%2feverything-here", "everything-here.yaml", "__proto__"])(
    "there is no template %s",
    async (id) => {
      expect(await rest("POST", `/deploy/${id}/`, {})).toMatchObject({ status: 404 });
      expect(await rest("GET", `/${id}/`)).toMatchObject({ status: 404 });
    },
  );

  test("a wrong configuration, or a runtime that cannot run it, is refused, and no tool is left behind", async () => {
    const total = async () => (await rest("GET", "/deployments/")).body["total"];
    const before = await total();
    const count = async () =>
      (await graphqlClient(toolyard.url, token).send<{ tools: { totalCount: number } }>("{ tools { totalCount } }"))
        .data.tools.totalCount;
    const tools = await count();
    const refused = await rest("POST", "/deploy/everything-here/", { name: "Refused", configuration: { greeting: 1 } });
    expect(refused).toMatchObject({ status: 422, body: { code: "BAD_USER_INPUT" } });
    const places = (refused.body["problems"] as { path: string }[]).map(({ path }) => path);
    expect(places).toEqual(expect.arrayContaining(["configuration.key", "configuration.greeting"]));
    const elsewhere = { name: "Refused", configuration: { key: "k" }, runtime: "DOCKER" };
    expect(await rest("POST", "/deploy/everything-here/", elsewhere)).toMatchObject({
      status: 422,
      body: { problems: [{ path: "runtime", message: expect.stringContaining("say PROCESS") }] },
    });
    expect(await total()).toBe(before);
    expect(await count()).toBe(tools);
  });

  test("a server of the registry is imported, shown, replaced and deleted", async () => {
    const packages = [
      {
        registryType: "npm",
        identifier: "parcels-mcp",
        version: "1.0.0",
        transport: { type: "stdio" },
        environmentVariables: [{ name: "PARCELS_KEY", isRequired: true, isSecret: true }],
      },
    ];
    const json = { name: "com.example/parcels", description: "Parcels", version: "1.0.0", packages };
    const imported = await rest("POST", "/import/", { json });
    expect(imported).toMatchObject({
      status: 201,
      location: "/api/templates/com.example-parcels/",
      body: { id: "com.example-parcels", source: "IMPORTED", config_schema: { required: ["PARCELS_KEY"] } },
    });
    expect(await rest("GET", "/com.example-parcels/")).toEqual({ ...imported, status: 200, location: null });
    expect(await rest("POST", "/import/", { json: { ...json, version: "1.1.0" } })).toMatchObject({
      status: 201,
      body: { version: "1.1.0" },
    });
    const refused = await rest("POST", "/import/", { json: { ...json, packages: [] } });
    expect(refused).toMatchObject({ status: 422, body: { problems: [{ path: "json" }] } });
    expect((await rest("DELETE", "/com.example-parcels/")).status).toBe(204);
    expect((await rest("DELETE", "/com.example-parcels/")).status).toBe(404);
    expect((await rest("DELETE", "/memory/")).status).toBe(404);
  });

  test("nobody deploys one without the role", async () => {
    const graph = graphqlClient(toolyard.url);
    const user = { username: "looker", email: "looker@example.com", password: "a long enough passphrase" };
    await graph.send(`mutation ($input: RegisterInput!) { register(input: $input) { user { id } } }`, { input: user });
    const viewer = await logIn(toolyard.url, user.username, user.password);
    expect((await rest("GET", "/memory/", undefined, viewer)).status).toBe(200);
    expect((await rest("POST", "/deploy/memory/", {}, viewer)).status).toBe(403);
    expect((await rest("POST", "/deploy/memory/", {}, "nonsense")).status).toBe(401);
  });
});

test("by the command line, templates are listed and deployed", async () => {
  const toolyardCommand = async (args: string[], input = "") => {
    const child = spawn(process.execPath, [join(import.meta.dirname, "../../cli/main.ts"), ...args], {
      env: { PATH: process.env.PATH, HOME: folder, TOOLYARD_URL: toolyard.url, TOOLYARD_TOKEN: token },
      stdio: ["pipe", "pipe", "pipe"],
    });
    child.stdin.end(input);
    const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "exit")]);
    return { code: code as number, out, err };
  };
  const listed = await toolyardCommand(["templates", "everything", "here"]);
  expect(listed.code).toBe(0);
  expect(listed.out).toMatch(/^TEMPLATE +NEEDS +DESCRIPTION\neverything-here +key/);
  expect((await toolyardCommand(["templates", "nonsense"])).out).toContain("no such template");
  expect(await toolyardCommand(["deploy-template", "everything-her"])).toMatchObject({
    code: 1,
    err: expect.stringContaining('Did you mean "everything-here"'),
  });
  const without = await toolyardCommand(["deploy-template", "everything-here"]);
  expect(without.err).toMatch(/^key: [^]*--config '\{"key":"…"\}'/);
  const misspelt = await toolyardCommand([
    "deploy-template",
    "everything-here",
    "--config",
    '{"key":"k","greting":"x"}',
  ]);
  expect(misspelt.err).toMatch(/^(?!input)[^]*greting/);
  const args = [
    "deploy-template",
    "everything-here",
    "--name",
    "By command",
    "--runtime",
    "process",
    "--config",
    "-",
    "--json",
  ];
  const deployed = await toolyardCommand(args, '{"key":"k"}');
  expect(deployed.code).toBe(0);
  expect(JSON.parse(deployed.out)).toMatchObject({
    name: expect.stringMatching(/^by-command-/),
    status: "RUNNING",
    runtime: "PROCESS",
  });
});
