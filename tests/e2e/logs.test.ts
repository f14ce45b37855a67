/** What an operator reads: the log's lines and the metrics. */
import { connectMcp, eventually, graphqlClient, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import { isDistributed } from "@toolyard/testing/mode.ts";
import { createClient } from "graphql-ws";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";

type Line = Record<string, unknown> & { message: string; logger: string; request_id?: string };

let toolyard: RunningToolyard;
let token: string;
let admin: ReturnType<typeof graphqlClient>;

beforeAll(async () => {
  toolyard = await startToolyard({ env: { LOG_LEVEL: "info", BATCH_LIMIT: "5", SAMPLE: "true" } });
  token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  admin = graphqlClient(toolyard.url, token);
});
afterAll(() => toolyard[Symbol.asyncDispose]());

const linesOf = ({ output }: Pick<RunningToolyard, "output">): Line[] =>
  output()
    .split("\n")
    // The last may not be whole yet.
    .slice(0, -1)
    .filter((text) => text.startsWith("{"))
    .map((text) => {
      // Where the parts are processes of their own, each line also names the one that has printed it.
      const { part: _part, ...line } = JSON.parse(text) as Line;
      return line;
    });
const line = (what: string, matches: (line: Line) => boolean) =>
  eventually(`a line of ${what}`, () => linesOf(toolyard).find(matches));
const post = (path: string, body: string, headers: Record<string, string> = {}) =>
  fetch(`${toolyard.url}${path}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body,
  });
const authorized = () => ({ authorization: `Bearer ${token}` });

describe("the log", () => {
  test("has a line for each request: what was asked by its name, never its text, its values or what may be secret", async () => {
    const query = "query Tools($search: String) { tools(search: $search) { totalCount } }";
    const id = "request-of-a-test";
    const body = JSON.stringify({ query, variables: { search: "valuable" } });
    await post("/graphql?token=in-the-query", body, { ...authorized(), "x-request-id": id });
    const found = await line("the request", ({ request_id }) => request_id === id);
    expect(found).toEqual({
      level: "info",
      timestamp: expect.stringMatching(/Z$/),
      logger: "gateway",
      request_id: id,
      user_id: expect.any(String),
      method: "POST",
      path: "/graphql",
      operation: "Tools",
      kind: "query",
      status: 200,
      duration_ms: expect.any(Number),
      message: "request",
    });
    for (const secret of ["totalCount", "valuable", "in-the-query", token, toolyard.adminPassword])
      expect(linesOf(toolyard).some((each) => JSON.stringify(each).includes(secret))).toBe(false);
  });

  test("has a line for each call of a tool, by the names of the protocol", async () => {
    const client = await connectMcp("v1", `${toolyard.proxyUrl}/mcp/everything/v1/mcp`, token);
    await client.callTool("echo", { message: "not for the log" });
    await client.close();
    expect(await line("the call", ({ tool }) => tool === "echo")).toMatchObject({
      logger: "proxy",
      user_id: expect.any(String),
      method: "POST",
      slug: "everything",
      replica: expect.any(String),
      rpc_method: "tools/call",
      status: 200,
      duration_ms: expect.any(Number),
      request_id: expect.any(String),
    });
    expect(toolyard.output()).not.toContain("not for the log");
  });

  test("has a line for every request id that an error bears", async () => {
    const ids: string[] = [];
    const answers = [
      await post("/graphql", '{"query":"{ nothing }"}'),
      await post("/graphql", '{"query":"{"}'),
      await post("/graphql", "no JSON"),
      await post("/graphql", '{"query":"{ me { id } }"}'),
      await post("/graphql", '{"query":"{ me { id } }"}', { authorization: "Bearer rubbish" }),
      await post("/graphql", '[{"query":"{ nothing }"},{"query":"{ me { id } }"}]'),
      await post("/graphql", " ".repeat(300_000)),
      await post("/graphql", "x", { "content-type": "text/plain" }),
      await post("/graphql", '{"query":"subscription { deploymentEvents { sequence } }"}', authorized()),
      await post("/graphql", '{"query":"{ nothing }"}', { accept: "text/event-stream" }),
      await post("/graphql/stream", '{"query":"{ nothing }"}'),
      await post("/graphql/nowhere", "{}"),
      await fetch(`${toolyard.url}/nowhere`),
      await fetch(`${toolyard.url}/metrics`),
      await fetch(`${toolyard.url}/graphql?query=mutation{logout}`, { headers: authorized() }),
      await fetch(`${toolyard.proxyUrl}/nowhere`),
      await fetch(`${toolyard.proxyUrl}/metrics`),
      await fetch(`${toolyard.proxyUrl}/mcp/everything/v1/mcp`),
      await fetch(`${toolyard.proxyUrl}/mcp/nobody/v1/mcp`, { headers: authorized() }),
      await fetch(`${toolyard.proxyUrl}/mcp/everything/v1/mcp`, { headers: { origin: "https://elsewhere.example" } }),
    ];
    for (const answer of answers) {
      const found = [...(await answer.text()).matchAll(/"(?:requestId|request_id)":"([^"]+)"/g)].map(([, id]) => id);
      expect(`${answer.url} ${answer.status}: ${found.length > 0}`).toContain("true");
      ids.push(...(found as string[]));
    }
    const sockets = createClient({ url: `${toolyard.url.replace("http", "ws")}/graphql`, webSocketImpl: WebSocket });
    for (const query of ["{ nothing }", "{ me { id } }", "subscription { deploymentEvents { sequence } }"]) {
      const told = await new Promise((resolve) => {
        sockets.subscribe({ query }, { next: resolve, error: resolve, complete: () => undefined });
      });
      ids.push(/"requestId":"([^"]+)"/.exec(JSON.stringify(told))?.[1] ?? `none for ${query}`);
    }
    await sockets.dispose();
    const missing = () => {
      const known = new Set(linesOf(toolyard).map(({ request_id }) => request_id));
      return ids.filter((id) => !known.has(id));
    };
    await expect.poll(missing).toEqual([]);
    expect(ids.length).toBeGreaterThan(answers.length);
  });

  test("is not written by clients: their names are short and of one line", async () => {
    const name = `\u009b31m${"long".repeat(100)}`;
    await fetch(`${toolyard.url}/${"path".repeat(100)}`);
    const call = { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: `${name}\n{"level":"forged"}` } };
    const headers = {
      ...authorized(),
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
    };
    const url = `${toolyard.proxyUrl}/mcp/everything/v1/mcp`;
    const { status } = await fetch(url, { method: "POST", headers, body: JSON.stringify(call) });
    expect(status).toBeGreaterThanOrEqual(200);
    const { tool } = await line("the call", (each) => String(each["tool"]).includes("31m"));
    expect(tool).toMatch(/^\?31m(long)+…$/);
    const { path } = await line("the request", (each) => String(each["path"]).startsWith("/pathpath"));
    expect(String(path).length).toBeLessThanOrEqual(201);
    expect(linesOf(toolyard).filter(({ level }) => level === "forged")).toEqual([]);
  });

  test("has a line for each failed login, with who was tried from where and without the password, and not for each of a flood", async () => {
    const LOGIN = "mutation ($u: String!, $p: String!) { login(username: $u, password: $p) { accessToken } }";
    const anyone = graphqlClient(toolyard.url);
    await anyone.send(LOGIN, { u: "admin", p: "a wrong secret" });
    await anyone.send(LOGIN, { u: "my secret, in the wrong field!", p: "x" });
    expect(
      await line("the attempt", (each) => each["username"] === "admin" && /failed/.test(each.message)),
    ).toMatchObject({
      level: "info",
      logger: "identity",
      address: "127.0.0.1",
      reason: expect.stringMatching(/wrong password/),
    });
    for (let n = 0; n < 300; n += 1) await anyone.send(LOGIN, { u: "somebody", p: `a wrong secret ${n}` });
    const failed = linesOf(toolyard).filter(({ message }) => message === "a login failed");
    expect(failed.length).toBeGreaterThan(10);
    expect(failed.length).toBeLessThan(200);
    expect(toolyard.output()).not.toMatch(/a wrong secret|wrong field/);
  });

  test("tells who did what to users, keys and tools", async () => {
    const REGISTER = "mutation ($i: RegisterInput!) { register(input: $i) { user { id } } }";
    const input = { username: "logged", email: "l@example.com", password: "a rather long secret of theirs" };
    const { register } = await graphqlClient(toolyard.url).query<{ register: { user: { id: string } } }>(REGISTER, {
      i: input,
    });
    const { id } = register.user;
    await admin.query("mutation ($id: ID!) { setUserRole(userId: $id, role: DEVELOPER) { id } }", { id });
    const { createApiKey } = await admin.query<{ createApiKey: { secret: string; apiKey: { id: string } } }>(
      'mutation { createApiKey(input: { name: "k", scopes: [READ] }) { secret apiKey { id } } }',
    );
    await admin.query("mutation ($id: ID!) { revokeApiKey(id: $id) { id } }", { id: createApiKey.apiKey.id });
    expect(await line("registering", ({ message }) => message === "a user registered")).toMatchObject({
      user_id: id,
      username: "logged",
    });
    expect(await line("the role", ({ message }) => message === "a user's role was changed")).toMatchObject({
      user_id: id,
      from: "VIEWER",
      to: "DEVELOPER",
      by: expect.any(String),
    });
    for (const message of ["an API key was made", "an API key was revoked"])
      expect(await line(message, (each) => each.message === message)).toMatchObject({
        api_key_id: createApiKey.apiKey.id,
      });
    for (const secret of [createApiKey.secret, input.password, input.email])
      expect(toolyard.output()).not.toContain(secret);
  });

  test("tells each change of a deployment with Toolyard's reason, and without the server's words", async () => {
    const script = 'console.error("words of the server"); process.exit(3);';
    const { createTool } = await admin.query<{ createTool: { id: string } }>(
      "mutation ($i: CreateToolInput!) { createTool(input: $i) { id } }",
      {
        i: {
          name: "Exits",
          description: "exits",
          launch: { stdio: { command: process.execPath, args: ["-e", script] } },
        },
      },
    );
    const { deployTool } = await admin.query<{ deployTool: { id: string } }>(
      "mutation ($id: ID!) { deployTool(input: { toolId: $id }) { id } }",
      { id: createTool.id },
    );
    const of = (event: string) => (each: Line) => each["deployment_id"] === deployTool.id && each["event"] === event;
    expect(await line("registering", ({ message }) => message === "a tool was registered")).toBeTruthy();
    expect(await line("deploying", of("DEPLOYED"))).toMatchObject({ level: "info", by: expect.any(String) });
    expect((await line("its end", of("REPLICA_BACKOFF"))).message).toMatch(/exited with code 3/i);
    await admin.query("mutation ($id: ID!) { scaleDeployment(id: $id, replicas: 0) { id } }", { id: deployTool.id });
    await admin.query("mutation ($id: ID!) { stopDeployment(id: $id) { id } }", { id: deployTool.id });
    await line("scaling", of("SCALED"));
    await line("stopping", of("STOP_REQUESTED"));
    expect(await line("the stop", of("STOPPED"))).toMatchObject({ status: "STOPPED" });
    expect(toolyard.output()).not.toContain("words of the server");
  });
});

describe("metrics", () => {
  const scrape = async (url: string) => (await fetch(`${url}/metrics`, { headers: authorized() })).text();

  test("are named as OpenMetrics has it: what only grows ends in _total, and nothing else; all have help", async () => {
    for (const url of [toolyard.url, toolyard.proxyUrl]) {
      const text = await scrape(url);
      const types = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = "", type = ""]) => ({ name, type }));
      expect(types.length).toBeGreaterThan(20);
      for (const { name, type } of types) {
        expect(`${type} ${name}`).toMatch(type === "counter" ? /_total$/ : /^(?!.*_(total|count|sum|bucket|created)$)/);
        expect(name).toMatch(/^[a-z][a-z0-9_]*$/);
        expect(text).toMatch(new RegExp(`^# HELP ${name} \\S`, "m"));
      }
      const known = new Set(types.map(({ name }) => name));
      for (const [, name = ""] of text.matchAll(/^([a-z]\w*)(?:\{| )/gm))
        expect(known.has(name) || known.has(name.replace(/_(bucket|sum|count)$/, ""))).toBe(true);
    }
  });

  test("count calls by tool, deployments by status, sessions and restarts", async () => {
    const client = await connectMcp("v1", `${toolyard.proxyUrl}/mcp/everything/v1/mcp`, token);
    await client.callTool("echo", { message: "counted" });
    const text = await scrape(toolyard.url);
    expect(text).toMatch(/^mcp_deployments\{status="RUNNING"\} [1-9]/m);
    expect(text).toMatch(/^mcp_deployments\{status="FAILED"\} 0/m);
    expect(text).toMatch(/^mcp_sessions [1-9]/m);
    expect(text).toMatch(/^user_sessions [1-9]/m);
    expect(text).toMatch(/^mcp_replica_restarts_total \d/m);
    expect(text).toMatch(/^graphql_operation_seconds_count\{operation="Tools",hash="[0-9a-f]{16}",outcome="ok"\} 1$/m);
    await client.close();
    const calls = await scrape(toolyard.proxyUrl);
    expect(calls).toMatch(/^mcp_tool_calls_total\{tool="everything",deployment="[^"]+",outcome="ok"\} [1-9]/m);
    expect(calls).not.toContain('tool="nobody"');
  });

  test("stay few, whatever clients name their operations", async () => {
    const countSeries = async () =>
      (await scrape(toolyard.url)).split("\n").filter((text) => /^[^#]/.test(text)).length;
    const before = await countSeries();
    for (let n = 0; n < 150; n += 1) await admin.send(`query Op${n} { t${n}: __typename }`);
    // Two for each operation, and a few that are seen for the first time meanwhile.
    expect((await countSeries()) - before).toBeLessThan(150 * 2 + 60);
    expect(before).toBeLessThan(600);
  });
});

test("LOG_REQUESTS=false writes no line of requests; the others stay, with the end of the process among them", async () => {
  await using quiet = await startToolyard({ env: { LOG_LEVEL: "info", LOG_REQUESTS: "false" } });
  const signedIn = await logIn(quiet.url, "admin", quiet.adminPassword);
  await graphqlClient(quiet.url, signedIn).send("{ nothing }");
  await fetch(`${quiet.proxyUrl}/mcp/nobody/v1/mcp`);
  await quiet.stop();
  const messages = linesOf(quiet).map(({ logger, message }) => `${logger}: ${message}`);
  expect(messages.filter((message) => /: (request|call|operation)$/.test(message))).toEqual([]);
  expect(messages).toEqual(expect.arrayContaining(["identity: a user logged in", "proxy: stopped"]));
  const main = isDistributed ? "supervisor" : "standalone";
  expect(messages.indexOf(`${main}: stopping`)).toBeGreaterThan(0);
  expect(messages.indexOf(`${main}: stopping`)).toBeLessThan(messages.indexOf(`${main}: stopped`));
});
