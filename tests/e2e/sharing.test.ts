/** A tool that its author shares, with everything running: over the graph, REST and the proxy. */
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
}, 120_000);
afterAll(() => toolyard[Symbol.asyncDispose]());

const call = () =>
  fetch(`${toolyard.proxyUrl}/mcp/everything/v1/mcp`, {
    method: "POST",
    headers: {
      authorization: `Bearer ${viewer.token}`,
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
