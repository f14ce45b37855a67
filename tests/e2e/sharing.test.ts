/** A tool that its author shares, with everything running: over the graph, REST and the proxy. */
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { join } from "node:path";
import { runCommandLine } from "../../cli/command-line.ts";
import { createTerminal } from "../../cli/terminal.ts";
import { eventually, graphqlClient, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import { afterAll, beforeAll, expect, test } from "vitest";

const PASSWORD = "yet another phrase 4711";

let toolyard: RunningToolyard;
let admin: ReturnType<typeof graphqlClient>;
let viewer: { id: string; token: string };

beforeAll(async () => {
  toolyard = await startToolyard({ env: { SAMPLE: "true", REGISTRATION_ROLE: "VIEWER" } });
  admin = graphqlClient(toolyard.url, await logIn(toolyard.url, "admin", toolyard.adminPassword));
  const { data } = await graphqlClient(toolyard.url).send<{ register: { accessToken: string; user: { id: string } } }>(
    `mutation { register(input: { username: "vera", email: "v@example.com", password: "${PASSWORD}" }) { accessToken user { id } } }`,
  );
  viewer = { id: data.register.user.id, token: data.register.accessToken };
  await eventually("the sample", async () => {
    const found = await admin.send<{ deployment: { status: string } | null }>(
      '{ deployment(id: "everything") { status } }',
    );
    return found.data?.deployment?.status === "RUNNING";
  });
});
afterAll(() => toolyard[Symbol.asyncDispose]());

const call = (token = viewer.token, origin = toolyard.proxyUrl) =>
  fetch(`${origin}/mcp/everything/v1/mcp`, {
    method: "POST",
    headers: {
      authorization: `Bearer ${token}`,
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
    },
    body: JSON.stringify({
      jsonrpc: "2.0",
      id: 1,
      method: "initialize",
      params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "test", version: "1" } },
    }),
  });
const rest = (method: string, path: string, token: string, body?: object) =>
  fetch(`${toolyard.url}/api/v1${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    ...(body && { body: JSON.stringify(body) }),
  });

test("a viewer calls a tool while it is shared with them, and no longer", async () => {
  expect((await call()).status).toBe(403);
  const share = `mutation ($access: ShareAccess!) { shareTool(toolId: "everything", userId: "vera", access: $access) { sharedWith { user { username email } } } }`;
  expect(await admin.send(share, { access: "USE" })).toMatchObject({
    data: { shareTool: { sharedWith: [{ user: { username: "vera" } }] } },
  });
  await eventually("the share at the proxy", async () => (await call()).status === 200);
  const mine = await graphqlClient(toolyard.url, viewer.token).send("{ sharedWithMe { edges { node { slug } } } }");
  expect(mine).toMatchObject({ data: { sharedWithMe: { edges: [{ node: { slug: "everything" } }] } } });
  await admin.send('mutation { unshareTool(toolId: "everything", userId: "vera") { id } }');
  await eventually("the end of the share at the proxy", async () => (await call()).status === 403);
});

test("REST shares, lists and ends shares; a viewer is refused each, and finds nobody by a name", async () => {
  const token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  const path = `/mcps/everything/shares`;
  expect((await rest("PUT", `${path}/${viewer.id}`, token, { access: "EDIT" })).status).toBe(204);
  expect(await (await rest("GET", path, token)).json()).toMatchObject({
    items: [{ user_id: viewer.id, access: "EDIT" }],
    total: 1,
  });
  expect((await rest("PUT", `${path}/${viewer.id}`, token, { access: "OWN" })).status).toBe(422);
  expect((await rest("PUT", `${path}/nobody`, token, { access: "VIEW" })).status).toBe(404);
  for (const [method, body] of [
    ["PUT", { access: "EDIT" }],
    ["DELETE", undefined],
  ] as const)
    expect((await rest(method, `${path}/${viewer.id}`, viewer.token, body)).status).toBe(403);
  expect((await rest("DELETE", `${path}/${viewer.id}`, token)).status).toBe(204);
  expect((await rest("GET", path, viewer.token)).status).toBe(403);
  expect(await (await rest("GET", "/my/shared-mcps", viewer.token)).json()).toMatchObject({ items: [], total: 0 });
});

test("an API key that is limited to a tool calls, reads, lists and follows it alone", async () => {
  const token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  const launch = { stdio: { command: "node", args: ["/srv/other.mjs"] } };
  const made = await admin.send<{ createTool: { id: string } }>(
    "mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }",
    { input: { name: "other", description: "", launch } },
  );
  const other = made.data.createTool.id;
  async function keyFor(tool: string): Promise<string> {
    const body = { name: `for ${tool}`, scopes: ["READ", "WRITE", "INVOKE", "ADMIN"], tool_ids: [tool] };
    const created = await rest("POST", "/auth/api-keys", token, body);
    const { api_key: apiKey, secret } = (await created.json()) as { api_key: { tool_ids: string[] }; secret: string };
    expect([created.status, apiKey.tool_ids]).toEqual([201, [expect.stringMatching(/^[0-9a-f-]{36}$/)]]);
    return secret;
  }
  const [key, othersKey] = [await keyFor("everything"), await keyFor("other")];
  const listed = await (await rest("GET", "/auth/api-keys", token)).json();
  expect(listed).toMatchObject({ items: [{ tool_ids: [other] }, { tool_ids: [expect.any(String)] }] });

  for (const origin of [toolyard.proxyUrl, toolyard.url]) {
    expect((await call(key, origin)).status).toBe(200);
    const refused = await call(othersKey, origin);
    expect([refused.status, await refused.text()]).toEqual([404, expect.stringContaining("this API key may call")]);
  }
  expect(await (await rest("GET", "/mcps", key)).json()).toMatchObject({ total: 1, items: [{ slug: "everything" }] });
  for (const [method, path, status] of [
    ["GET", "/mcps/everything", 200],
    ["GET", "/mcps/other", 404],
    ["GET", `/mcps/${other}`, 404],
    ["GET", `/mcps/${other}/history`, 404],
    ["DELETE", `/mcps/${other}`, 403],
    ["GET", "/mcps/everything/shares", 403],
    ["GET", "/auth/api-keys", 403],
    ["POST", "/auth/ticket", 403],
  ] as const)
    expect([path, (await rest(method, path, key)).status]).toEqual([path, status]);
  expect((await fetch(`${toolyard.url}/metrics`, { headers: { authorization: `Bearer ${key}` } })).status).toBe(403);

  const events = await fetch(`${toolyard.url}/events?topics=tool,deployment`, {
    headers: { authorization: `Bearer ${key}`, accept: "text/event-stream" },
  });
  expect(events.status).toBe(200);
  const rename = "mutation ($id: ID!, $name: String!) { updateTool(id: $id, input: { name: $name }) { id } }";
  for (const [id, name] of [
    [other, "Another"],
    ["everything", "All of it"],
  ])
    await admin.send(rename, { id, name });
  let told = "";
  for await (const part of events.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    told += part;
    if (told.includes('"UPDATED"')) break;
  }
  expect(told).toContain("everything");
  expect(told).not.toContain(other);
});

test("a key is limited to tools that are there, and a limited one makes no other", async () => {
  const token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  const make = (toolIds: unknown, by = token) =>
    rest("POST", "/auth/api-keys", by, { name: "limited", scopes: ["READ", "WRITE", "ADMIN"], tool_ids: toolIds });
  for (const toolIds of [[], ["no-such-tool"], "everything", [1], Array(51).fill("everything")])
    expect([toolIds, (await make(toolIds)).status]).toEqual([toolIds, 422]);
  const { secret } = (await (await make(["everything"])).json()) as { secret: string };
  for (const toolIds of [null, ["everything"]]) expect((await make(toolIds, secret)).status).toBe(403);
});

test("the command line shares a tool, makes keys for it, and lists and ends both", async () => {
  const root = join(import.meta.dirname, "../..");
  async function run(command: string, token: string) {
    const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
    const code = await runCommandLine({
      argv: command.split(" "),
      env: { TOOLYARD_URL: toolyard.url, TOOLYARD_TOKEN: token, XDG_CONFIG_HOME: toolyard.dataDir },
      folder: root,
      root,
      terminal: createTerminal({ stdin, stdout, stderr }),
      signal: new AbortController().signal,
    });
    for (const stream of [stdout, stderr]) stream.end();
    return { code, out: await text(stdout), err: await text(stderr) };
  }
  const token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  const nobody = { code: 0, out: expect.stringContaining("is shared with nobody") };
  expect(await run("share everything", token)).toMatchObject(nobody);
  expect(await run("share everything vera", token)).toMatchObject({
    code: 2,
    err: expect.stringContaining("view, use, edit"),
  });
  expect(await run("share everything vira use", token)).toMatchObject({
    code: 1,
    err: expect.stringContaining("vera"),
  });
  expect(await run("share everything vera use", token)).toMatchObject({ code: 0 });
  expect((await run("share everything", token)).out).toMatch(/^vera +[0-9a-f-]{36} +USE /m);
  expect(JSON.parse((await run("share everything --json", token)).out)).toMatchObject([{ access: "USE" }]);
  expect((await run("share everything", viewer.token)).out).toMatch(/ USE /);
  expect(await run("unshare everything vera", token)).toMatchObject({ code: 0 });
  expect(await run("share everything", token)).toMatchObject(nobody);

  for (const wrong of ["", " --scope ALL", " --scope read --expires soon"])
    expect(await run(`create-api-key ci${wrong}`, token)).toMatchObject({ code: 2, out: "" });
  const made = await run("create-api-key ci --scope read --scope write --tool everything", token);
  expect(made).toMatchObject({ code: 0, err: "", out: expect.stringMatching(/^ty_[\w-]+\n$/) });
  const key = made.out.trim();
  expect((await run("list", key)).out).toMatch(/^TOOL .*\neverything .*\n$/);
  expect((await run("api-keys", token)).out).toMatch(/^ci +[0-9a-f-]{36} +READ WRITE +everything +/m);
  expect(await run("revoke-api-key ci", token)).toMatchObject({ code: 0 });
  expect(await run("api-keys", token)).toMatchObject({ code: 0, out: expect.not.stringMatching(/^ci /m) });
  await eventually("the key's end", async () => (await run("list", key)).code === 1);
  const connected = JSON.parse((await run("connect everything", token)).out) as {
    mcpServers: { everything: { headers: { Authorization: string } } };
  };
  const { Authorization } = connected.mcpServers.everything.headers;
  expect((await call(Authorization.replace("Bearer ", ""))).status).toBe(200);
  expect((await run("list", Authorization.replace("Bearer ", ""))).code).toBe(1);
});

test("a limited key does what its owner may by now: it ends with their role, the share and the account, also by aliases and batches", async () => {
  const registered = await graphqlClient(toolyard.url).send<{
    register: { accessToken: string; user: { id: string } };
  }>(
    `mutation { register(input: { username: "dora", email: "d@example.com", password: "${PASSWORD}" }) { accessToken user { id } } }`,
  );
  const { id } = registered.data.register.user;
  await admin.send("mutation ($id: ID!) { setUserRole(userId: $id, role: DEVELOPER) { id } }", { id });
  const token = await logIn(toolyard.url, "dora", PASSWORD);
  const body = { name: "dora's", scopes: ["READ", "WRITE", "INVOKE"], tool_ids: ["everything"] };
  const { secret } = (await (await rest("POST", "/auth/api-keys", token, body)).json()) as { secret: string };
  const rename = (name: string) => rest("PUT", "/mcps/everything", secret, { name });
  const shareWithDora = (access: string) =>
    admin.send(`mutation { shareTool(toolId: "everything", userId: "dora", access: ${access}) { id } }`);

  expect((await rename("Dora's")).status).toBe(403);
  await shareWithDora("EDIT");
  expect((await rename("Dora's")).status).toBe(200);
  expect((await rest("PUT", `/mcps/everything/shares/${viewer.id}`, secret, { access: "EDIT" })).status).toBe(403);
  expect((await rest("PUT", `/mcps/everything/shares/${viewer.id}`, token, { access: "EDIT" })).status).toBe(403);
  expect((await call(secret)).status).toBe(200);
  const graph = graphqlClient(toolyard.url, secret);
  const many = await graph.send(
    '{ a: tool(id: "everything") { slug } b: tool(id: "other") { slug } c: tools { totalCount } }',
  );
  expect(many).toMatchObject({ data: { a: { slug: "everything" }, b: null, c: { totalCount: 1 } } });
  const shareAs = (access: string) =>
    `${access}: shareTool(toolId: "everything", userId: "${viewer.id}", access: ${access}) { id }`;
  const shares = await graph.send(`mutation { ${shareAs("VIEW")} ${shareAs("EDIT")} }`);
  expect(shares.data).toBeNull();

  await admin.send("mutation ($id: ID!) { setUserRole(userId: $id, role: VIEWER) { id } }", { id });
  await eventually("the role's end", async () => (await rename("Again")).status === 403);
  expect((await call(secret)).status).toBe(200);
  await shareWithDora("VIEW");
  await eventually("the end of the share at the proxy", async () => (await call(secret)).status === 403);
  await admin.send("mutation ($id: ID!) { setUserDisabled(userId: $id, disabled: true) { id } }", { id });
  for (const origin of [toolyard.proxyUrl, toolyard.url])
    await eventually("the account's end", async () => (await call(secret, origin)).status === 401);
  expect((await rest("GET", "/mcps", secret)).status).toBe(401);
  const refused = await rest(
    "PUT",
    `/mcps/everything/shares/${id}`,
    await logIn(toolyard.url, "admin", toolyard.adminPassword),
    { access: "USE" },
  );
  expect(refused.status).toBe(422);
});

test("what a client may not set is refused in bodies of shares and keys", async () => {
  const token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  const key = { name: "k", scopes: ["READ"] };
  for (const more of [{ owner_id: viewer.id }, { id: viewer.id }, { toolIds: ["everything"] }, { revoked_at: null }])
    expect([more, (await rest("POST", "/auth/api-keys", token, { ...key, ...more })).status]).toEqual([more, 422]);
  for (const more of [{ user_id: "x" }, { shared_by_id: viewer.id }, { tool_id: "other" }]) {
    const answer = await rest("PUT", `/mcps/everything/shares/${viewer.id}`, token, { access: "VIEW", ...more });
    expect([more, answer.status]).toEqual([more, 422]);
  }
});
