import { join } from "node:path";
import {
  eventually,
  freePort,
  graphqlClient,
  logIn,
  portBlock,
  startToolyard,
  type RunningToolyard,
} from "@toolyard/testing";
import { createClient } from "graphql-ws";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { sampleServerEntry } from "../../standalone/sample.ts";

let toolyard: RunningToolyard;
let admin: ReturnType<typeof graphqlClient>;
let token: string;
const fixture = (name: string) => join(import.meta.dirname, "fixtures", name);

beforeAll(async () => {
  const { first } = await portBlock();
  // Three ports for replicas, so that running out of them can be seen.
  toolyard = await startToolyard({ env: { MCP_PORT_RANGE: `${first}-${first + 2}` } });
  token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  admin = graphqlClient(toolyard.url, token);
});
afterAll(async () => {
  await toolyard?.[Symbol.asyncDispose]();
});

const CREATE = "mutation ($input: CreateToolInput!) { createTool(input: $input) { id slug } }";
const DEPLOY = "mutation ($input: DeployToolInput!) { deployTool(input: $input) { id name mcpUrl } }";

async function createTool(name: string, stdio: object, options: object = {}): Promise<string> {
  const { createTool: tool } = await admin.query<{ createTool: { id: string } }>(CREATE, {
    input: { name, description: "bad input", launch: { stdio: { ...stdio, options } } },
  });
  return tool.id;
}
async function deploy(toolId: string, replicas = 1) {
  return (await admin.query<{ deployTool: { id: string; mcpUrl: string } }>(DEPLOY, { input: { toolId, replicas } }))
    .deployTool;
}
const statusOf = async (id: string) =>
  (
    await admin.query<{ deployment: { status: string; reason: string | null; health: string } }>(
      "query ($id: ID!) { deployment(id: $id) { status reason health } }",
      { id },
    )
  ).deployment;
const stop = (id: string) => admin.query("mutation ($id: ID!) { stopDeployment(id: $id) { id } }", { id });
const callMcp = (slug: string, init: { body?: string } = {}) =>
  fetch(`${toolyard.proxyUrl}/mcp/${slug}/v1/mcp`, {
    method: "POST",
    body: "{}",
    ...init,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
  });

describe("a launch that does not work says why on the deployment", () => {
  test("a command that does not exist", async () => {
    const { id } = await deploy(await createTool("Missing", { command: "no-such-command-anywhere" }));
    const failed = await eventually("FAILED", async () => {
      const now = await statusOf(id);
      return now.status === "FAILED" ? now : null;
    });
    expect(failed.reason).toContain("no-such-command-anywhere");
    await stop(id);
  });

  test("a server that exits at once", async () => {
    const { id } = await deploy(
      await createTool("Exits", {
        command: process.execPath,
        args: ["-e", "console.error('no licence file'); process.exit(3)"],
      }),
    );
    const starting = await eventually("a reason", async () => {
      const now = await statusOf(id);
      return now.reason?.includes("no licence file") ? now : null;
    });
    expect(["STARTING", "FAILED"]).toContain(starting.status);
    expect(starting.health).not.toBe("HEALTHY");
    await stop(id);
  });

  test("a server that never answers", async () => {
    const silent = await createTool(
      "Silent",
      { command: process.execPath, args: ["-e", "setInterval(() => {}, 1000)"] },
      { health: { startTimeoutSeconds: 2 } },
    );
    const { id } = await deploy(silent);
    const now = await eventually("a reason", async () => {
      const seen = await statusOf(id);
      return seen.reason !== null && /answer/i.test(seen.reason) ? seen : null;
    });
    expect(now.health).not.toBe("HEALTHY");
    await stop(id);
  });

  test("a server that prints junk on stdout works all the same", async () => {
    const { id } = await deploy(
      await createTool("Junk", {
        command: process.execPath,
        args: [fixture("junk-on-stdout.mjs"), sampleServerEntry()],
      }),
    );
    await eventually("RUNNING", async () => (await statusOf(id)).status === "RUNNING");
    await stop(id);
  });
});

test("all ports taken: CAPACITY_EXHAUSTED, and nothing half-made remains", async () => {
  // Only what binds a port by itself takes one.
  const http = { command: process.execPath, args: [sampleServerEntry(), "streamableHttp"] };
  const { createTool: greedy } = await admin.query<{ createTool: { id: string } }>(CREATE, {
    input: { name: "Greedy", description: "bad input", launch: { http } },
  });
  // A replica's port is free again only when it is verified gone.
  await eventually("free ports", async () => {
    const { deployments } = await admin.query<{ deployments: { edges: { node: { status: string } }[] } }>(
      "{ deployments { edges { node { status } } } }",
    );
    return deployments.edges.every(({ node }) => node.status === "STOPPED");
  });
  const before = await admin.query<{ deployments: { totalCount: number } }>("{ deployments { totalCount } }");
  const { errors } = await admin.send(DEPLOY, { input: { toolId: greedy.id, replicas: 4 } });
  expect(errors[0]?.extensions.code).toBe("CAPACITY_EXHAUSTED");
  expect(await admin.query("{ deployments { totalCount } }")).toEqual(before);
});

describe("at the proxy", () => {
  test("an unknown slug is 404", async () => {
    const answer = await callMcp("no-such-tool");
    expect(answer.status).toBe(404);
    expect(answer.headers.get("content-type")).toContain("application/problem+json");
    expect(await answer.json()).toMatchObject({ code: "NOT_FOUND", request_id: answer.headers.get("x-request-id") });
  });

  test.each([
    ["none", undefined],
    ["a malformed one", "Bearer rubbish"],
    ["an unknown API key", "Bearer ty_0_unknown"],
    ["another scheme", "Basic YWRtaW46YWRtaW4="],
  ])("a credential that is not good (%s) is 401 and says how to get in", async (_name, authorization) => {
    const answer = await fetch(`${toolyard.proxyUrl}/mcp/anything/v1/mcp`, {
      method: "POST",
      headers: authorization === undefined ? {} : { authorization },
    });
    expect(answer.status).toBe(401);
    expect(answer.headers.get("www-authenticate")).toMatch(/^Bearer .*scope="INVOKE"$/);
    expect(await answer.json()).toMatchObject({ code: "UNAUTHENTICATED" });
  });

  test("a body over the limit is 413", async () => {
    const { id } = await deploy(
      await createTool("Big", { command: process.execPath, args: [sampleServerEntry(), "stdio"] }),
    );
    await eventually("RUNNING", async () => (await statusOf(id)).status === "RUNNING");
    const answer = await eventually("the route", async () => {
      const seen = await callMcp("big", { body: "x".repeat(11 * 1024 * 1024) });
      return seen.status === 503 ? null : seen;
    });
    expect(answer.status).toBe(413);
    await stop(id);
  });

  test("a host name that is not served is refused", async () => {
    const answer = await fetch(`${toolyard.proxyUrl}/healthz`, { headers: { origin: "https://evil.example.com" } });
    expect([403, 421]).toContain(answer.status);
  });
});

describe("at the graph", () => {
  test("a viewer may look, and neither deploy nor call", async () => {
    const { register } = await graphqlClient(toolyard.url).query<{
      register: { accessToken: string; user: { role: string } };
    }>(
      'mutation { register(input: { username: "vera", email: "vera@example.com", password: "correct horse battery" }) { accessToken user { role } } }',
    );
    expect(register.user.role).toBe("VIEWER");
    const viewer = graphqlClient(toolyard.url, register.accessToken);
    const toolId = await createTool("Forbidden fruit", { command: "true" });
    expect(
      (await viewer.query<{ tool: { slug: string } }>("query ($id: ID!) { tool(id: $id) { slug } }", { id: toolId }))
        .tool.slug,
    ).toBe("forbidden-fruit");
    const { errors } = await viewer.send(DEPLOY, { input: { toolId } });
    expect(errors[0]).toMatchObject({ path: ["deployTool"], extensions: { code: "FORBIDDEN" } });
    expect(errors[0]?.message).toContain("DEVELOPER");
    const answer = await fetch(`${toolyard.proxyUrl}/mcp/forbidden-fruit/v1/mcp`, {
      method: "POST",
      headers: { authorization: `Bearer ${register.accessToken}` },
    });
    // Nothing of it runs. What a viewer may call of what does, tests/e2e/sharing.test.ts tells.
    expect(answer.status).toBe(404);
  });

  test.each([
    ["without a credential", undefined, 200],
    ["with a malformed token", "rubbish", 401],
  ])("%s nothing is read, and the error is UNAUTHENTICATED with a request id", async (_name, credential, status) => {
    const answer = await graphqlClient(toolyard.url, credential).send("{ tools { totalCount } }");
    expect(answer.status).toBe(status);
    expect(answer.errors[0]?.extensions).toMatchObject({ code: "UNAUTHENTICATED", requestId: expect.any(String) });
  });

  test("what is internal is neither seen nor answered", async () => {
    const { errors } = await admin.send("{ routes { version } }");
    expect(errors[0]?.message).toMatch(/Cannot query field "routes"/);
    const { __type } = await admin.query<{ __type: { fields: { name: string }[] } }>(
      '{ __type(name: "Query") { fields { name } } }',
    );
    expect(__type.fields.map(({ name }) => name)).not.toContain("routes");
    const { __type: table } = await admin.query('{ __type(name: "RouteTable") { name } }');
    expect(table).toBeNull();
  });

  test("bad input names each problem and its place", async () => {
    const { errors } = await admin.send(CREATE, {
      input: { name: "", description: "x", launch: { stdio: { command: "a" }, http: { command: "b" } } },
    });
    expect(errors[0]?.extensions.code).toBe("BAD_USER_INPUT");
    // Every BAD_USER_INPUT has problems, each with its path.
    const problems = (errors[0]?.extensions.problems ?? []) as { path: string }[];
    const paths = problems.map(({ path }) => path);
    expect(paths).toEqual(expect.arrayContaining([expect.stringContaining("name"), expect.stringContaining("launch")]));
  });

  test("a socket with a bad credential is closed with 4401, also when it asks nothing", async () => {
    const closed = Promise.withResolvers<number>();
    const client = createClient({
      url: `${toolyard.url.replace("http", "ws")}/graphql`,
      webSocketImpl: WebSocket,
      connectionParams: { authorization: "Bearer rubbish" },
      retryAttempts: 0,
      on: { closed: (event) => closed.resolve(event instanceof Object && "code" in event ? Number(event.code) : 0) },
    });
    client.subscribe(
      { query: "subscription { deploymentEvents { sequence } }" },
      { next: () => undefined, error: () => undefined, complete: () => undefined },
    );
    expect(await closed.promise).toBe(4401);
    await client.dispose();
  });

  test("a body over the limit is 413", async () => {
    const answer = await admin.send(`{ __typename } #${"x".repeat(11 * 1024 * 1024)}`);
    expect(answer.status).toBe(413);
    expect(answer.errors[0]?.extensions.code).toBe("PAYLOAD_TOO_LARGE");
  });
});

test.each([
  [{ PORT: "http" }, /PORT: must be a port from 0 to 65535 \(it is "http"\)\. Example: PORT=4000/],
  [{ MCP_PORT_RANGE: "9000-8000" }, /MCP_PORT_RANGE/],
  [{ SECRET_KEY: "short" }, /SECRET_KEY: must have at least 32 characters/],
  [{ DATABASE_URL: "mysql://root:hunter2@db" }, /DATABASE_URL/],
])("%o stops the start with a message that names the variable", async (env, message) => {
  const error: unknown = await startToolyard({ env }).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(Error);
  expect(String(error)).toMatch(message);
  expect(String(error)).toContain("exit code 78");
  expect(String(error)).not.toContain("hunter2");
});

test("a second Toolyard on the same data folder, or on a port that is taken, does not start and says why", async () => {
  const env = { SAMPLE: "false" };
  await expect(startToolyard({ dataDir: toolyard.dataDir, env })).rejects.toThrow(
    /Toolyard runs already with this DATA_DIR .*, at http:.* Stop that one, or give this one another DATA_DIR/,
  );
  const taken = { gateway: Number(new URL(toolyard.url).port), proxy: Number(new URL(toolyard.proxyUrl).port) };
  await expect(startToolyard({ ports: { ...taken, proxy: await freePort() }, env })).rejects.toThrow(
    new RegExp(`PORT: port ${taken.gateway} is in use`),
  );
  // Another Toolyard's proxy answers there, and well: it must not be taken for its own.
  await expect(startToolyard({ ports: { ...taken, gateway: await freePort() }, env })).rejects.toThrow(
    new RegExp(`PROXY_PORT: port ${taken.proxy} is in use`),
  );
  expect((await fetch(`${toolyard.url}/health`)).status).toBe(200);
});
