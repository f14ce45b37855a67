import { createServiceCaller, createUserCaller, type Caller, type ShareAccess } from "@toolyard/service-kit";
import { dataOf, executeOn, subscribeOn } from "@toolyard/testing";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  CREATE,
  admin,
  createToolsFixture,
  developer as author,
  otherDeveloper,
  stdioLaunch,
  viewer,
  type CreatedTool,
  type ToolsFixture,
} from "./fixtures/subgraph.ts";
import { MAX_SHARES } from "./share-service.ts";

let fixture: ToolsFixture;
beforeAll(async () => {
  fixture = await createToolsFixture();
  fixture.users.set("user-disabled", { id: "user-disabled", disabled: true });
  fixture.users.set("by-name", { id: "user-named", disabled: false });
});
afterAll(() => fixture[Symbol.asyncDispose]());

const SHARE = `mutation ($toolId: ID!, $userId: ID!, $access: ShareAccess!) {
  shareTool(toolId: $toolId, userId: $userId, access: $access) { id sharedWith { userId user { id } access sharedById } } }`;
const UNSHARE =
  "mutation ($toolId: ID!, $userId: ID!) { unshareTool(toolId: $toolId, userId: $userId) { id sharedWith { userId } } }";
const SHARED_WITH = "query ($id: ID!) { tool(id: $id) { id sharedWith { userId access } } }";
const ENV = "query ($id: ID!) { tool(id: $id) { launch { ... on StdioLaunch { env { name value } } } } }";
const ACCESS = "query ($userId: ID!, $toolIds: [ID!]!) { sharedAccess(userId: $userId, toolIds: $toolIds) }";
const service = createServiceCaller("test", ["internal:tool-shares"]);
const idOf = ({ userId }: Caller) => userId ?? "";

async function create(name = "Shared"): Promise<CreatedTool> {
  const launch = { stdio: { ...stdioLaunch.stdio, env: [{ name: "MODE", value: "fast" }] } };
  const input = { name, description: "", launch };
  return (await dataOf<{ createTool: CreatedTool }>(fixture.subgraph, CREATE, { input }, author)).createTool;
}
const run = (query: string, variables: Record<string, unknown>, caller: Caller = author) =>
  executeOn(fixture.subgraph, query, variables, caller);
const share = (toolId: string, userId: string, access: ShareAccess, caller: Caller = author) =>
  run(SHARE, { toolId, userId, access }, caller);
const codeOf = ({ errors }: Awaited<ReturnType<typeof run>>) => errors[0]?.code;
const codesOf = async (answers: Iterable<ReturnType<typeof run>>) => (await Promise.all(answers)).map(codeOf);

test("an author shares a tool, changes the access and ends it; those concerned see it, each as far as it is theirs", async () => {
  const { id, slug } = await create();
  expect(await share(slug, idOf(viewer), "USE")).toMatchObject({
    data: {
      shareTool: {
        id,
        sharedWith: [{ userId: viewer.userId, user: { id: viewer.userId }, access: "USE", sharedById: author.userId }],
      },
    },
  });
  await share(id, idOf(otherDeveloper), "VIEW", admin);
  await share(id, idOf(otherDeveloper), "EDIT");
  const everyone = [
    { userId: viewer.userId, access: "USE" },
    { userId: otherDeveloper.userId, access: "EDIT" },
  ];
  for (const caller of [author, admin])
    expect(await run(SHARED_WITH, { id }, caller)).toMatchObject({ data: { tool: { sharedWith: everyone } } });
  for (const [index, caller] of [viewer, otherDeveloper].entries())
    expect(await run(SHARED_WITH, { id }, caller)).toMatchObject({ data: { tool: { sharedWith: [everyone[index]] } } });
  const refused = await run(SHARED_WITH, { id }, createUserCaller("third", "DEVELOPER"));
  expect([codeOf(refused), refused.data]).toEqual(["FORBIDDEN", { tool: { id, sharedWith: null } }]);

  for (let times = 0; times < 2; times++)
    expect(await run(UNSHARE, { toolId: id, userId: viewer.userId })).toMatchObject({
      data: { unshareTool: { sharedWith: [{ userId: otherDeveloper.userId }] } },
    });
});

test("only its author and administrators share a tool, not those whom it is shared with", async () => {
  const { id } = await create();
  await share(id, idOf(otherDeveloper), "EDIT");
  await share(id, idOf(viewer), "EDIT");
  const readOnly = createUserCaller(idOf(author), "DEVELOPER", ["READ", "INVOKE"]);
  const demoted = createUserCaller(idOf(author), "VIEWER");
  const others = [otherDeveloper, viewer, readOnly, demoted, service];
  expect(await codesOf(others.map((caller) => share(id, idOf(admin), "VIEW", caller)))).toEqual(
    others.map(() => "FORBIDDEN"),
  );
  expect(await codesOf(others.map((caller) => run(UNSHARE, { toolId: id, userId: idOf(viewer) }, caller)))).toEqual(
    others.map(() => "FORBIDDEN"),
  );
  expect(await run(SHARED_WITH, { id })).toMatchObject({ data: { tool: { sharedWith: [{}, {}] } } });
});

test("a tool is shared with users that exist, are not disabled, and are not its author", async () => {
  const { id } = await create();
  expect(codeOf(await share(id, "nobody", "VIEW"))).toBe("NOT_FOUND");
  expect(codeOf(await share("no-such-tool", idOf(viewer), "VIEW"))).toBe("NOT_FOUND");
  for (const userId of ["user-disabled", idOf(author)]) {
    const refused = await share(id, userId, "VIEW", admin);
    expect(refused.errors?.[0]?.extensions).toMatchObject({ code: "BAD_USER_INPUT", problems: [{ path: "userId" }] });
  }
  await share(id, "by-name", "VIEW");
  expect(await run(SHARED_WITH, { id })).toMatchObject({ data: { tool: { sharedWith: [{ userId: "user-named" }] } } });
  // As identity finds them.
  await run(UNSHARE, { toolId: id, userId: "by-name" });
  expect(codeOf(await run(UNSHARE, { toolId: id, userId: "nobody" }))).toBe("NOT_FOUND");
  expect(await run(SHARED_WITH, { id })).toMatchObject({ data: { tool: { sharedWith: [] } } });
});

test("a share of one who was disabled since is ended, though identity finds nobody", async () => {
  const { id } = await create();
  fixture.users.set("leaver", { id: "leaver", disabled: false });
  await share(id, "leaver", "EDIT");
  fixture.users.delete("leaver");
  expect(await run(UNSHARE, { toolId: id, userId: "leaver" })).toMatchObject({
    data: { unshareTool: { sharedWith: [] } },
  });
});

test(`a tool is shared with at most ${MAX_SHARES} users`, async () => {
  const { id } = await create();
  for (let index = 0; index <= MAX_SHARES; index++)
    fixture.users.set(`u${index}`, { id: `u${index}`, disabled: false });
  for (let index = 0; index < MAX_SHARES; index++) await share(id, `u${index}`, "VIEW");
  expect(codeOf(await share(id, `u${MAX_SHARES}`, "VIEW"))).toBe("CONFLICT");
  expect(codeOf(await share(id, "u0", "EDIT"))).toBeUndefined();
});

test("VIEW shows a developer the launch's environment; a viewer sees it by no share", async () => {
  const { id } = await create();
  const valueFor = async (caller: Caller) => {
    const { tool } = await dataOf<{ tool: { launch: { env: { value: string | null }[] } } }>(
      fixture.subgraph,
      ENV,
      { id },
      caller,
    );
    return tool.launch.env[0]?.value;
  };
  expect(await valueFor(otherDeveloper)).toBeNull();
  for (const access of ["VIEW", "USE", "EDIT"] as const) {
    await share(id, idOf(otherDeveloper), access);
    await share(id, idOf(viewer), access);
    expect([await valueFor(otherDeveloper), await valueFor(viewer)]).toEqual(["fast", null]);
  }
  await run(UNSHARE, { toolId: id, userId: idOf(otherDeveloper) });
  expect(await valueFor(otherDeveloper)).toBeNull();
});

test("EDIT lets another developer change and revert the tool, and neither delete nor restore it; a viewer changes nothing", async () => {
  const { id } = await create();
  const attempts = (caller: Caller) =>
    codesOf([
      run('mutation ($id: ID!) { updateTool(id: $id, input: { name: "Mine" }) { id } }', { id }, caller),
      run("mutation ($id: ID!) { revertTool(id: $id, versionNumber: 1) { id } }", { id }, caller),
      run("mutation ($id: ID!) { deleteTool(id: $id) { id } }", { id }, caller),
      run("mutation ($id: ID!) { restoreTool(id: $id) { id } }", { id }, caller),
    ]);
  const none = ["FORBIDDEN", "FORBIDDEN", "FORBIDDEN", "FORBIDDEN"];
  for (const access of ["VIEW", "USE"] as const) {
    await share(id, idOf(otherDeveloper), access);
    expect(await attempts(otherDeveloper)).toEqual(none);
  }
  await share(id, idOf(otherDeveloper), "EDIT");
  await share(id, idOf(viewer), "EDIT");
  expect(await attempts(otherDeveloper)).toEqual([undefined, undefined, "FORBIDDEN", "FORBIDDEN"]);
  expect(await attempts(viewer)).toEqual(none);
  expect(await attempts(createUserCaller(idOf(otherDeveloper), "DEVELOPER", ["READ"]))).toEqual(none);
  await run(UNSHARE, { toolId: id, userId: idOf(otherDeveloper) });
  expect(await attempts(otherDeveloper)).toEqual(none);
});

test("everybody has lists of their own tools and of those shared with them", async () => {
  const fresh = createUserCaller("fresh", "DEVELOPER");
  fixture.users.set("fresh", { id: "fresh", disabled: false });
  const made = [await create("One"), await create("Two"), await create("Three")];
  for (const { id } of made) await share(id, "fresh", "USE");
  await run("mutation ($id: ID!) { deleteTool(id: $id) { id } }", { id: made[1]?.id });
  const lists = "{ sharedWithMe(first: 5) { totalCount edges { node { name } } } myTools { totalCount } }";
  expect(await run(lists, {}, fresh)).toMatchObject({
    data: {
      sharedWithMe: { totalCount: 2, edges: [{ node: { name: "Three" } }, { node: { name: "One" } }] },
      myTools: { totalCount: 0 },
    },
  });
  const mine = await dataOf<{ myTools: { edges: { node: { authorId: string } }[] } }>(
    fixture.subgraph,
    "{ myTools(first: 3) { edges { node { authorId } } } }",
    {},
    author,
  );
  expect(mine.myTools.edges.map(({ node }) => node.authorId)).toEqual([author.userId, author.userId, author.userId]);
});

test("services alone are told of anybody's access, of so many tools at once, and of none that is deleted", async () => {
  const { id } = await create();
  await share(id, idOf(viewer), "USE");
  const asked = { userId: viewer.userId, toolIds: [id, "unknown"] };
  expect(await run(ACCESS, asked, service)).toMatchObject({ data: { sharedAccess: ["USE", null] } });
  expect(await codesOf([author, admin, viewer].map((caller) => run(ACCESS, asked, caller)))).toEqual([
    "FORBIDDEN",
    "FORBIDDEN",
    "FORBIDDEN",
  ]);
  expect(codeOf(await run(ACCESS, { ...asked, toolIds: Array(101).fill(id) }, service))).toBe("BAD_USER_INPUT");
  await run("mutation ($id: ID!) { deleteTool(id: $id) { id } }", { id });
  expect(await run(ACCESS, asked, service)).toMatchObject({ data: { sharedAccess: [null, null] } });
  expect(codeOf(await share(id, idOf(otherDeveloper), "USE"))).toBe("CONFLICT");
});

test("changes of shares reach services, and in the log of tools those who may see the share", async () => {
  const { id } = await create();
  const changes = await subscribeOn<{ sharesChanged: { toolId: string } }>(
    fixture.subgraph,
    `subscription { sharesChanged(after: "0") { toolId userId access } }`,
    {},
    service,
  );
  const kinds = 'subscription ($id: ID!) { toolChanged(id: $id, after: "0") { kind } }';
  await share(id, idOf(viewer), "USE");
  await share(id, idOf(viewer), "VIEW");
  await run(UNSHARE, { toolId: id, userId: idOf(viewer) });
  await run('mutation ($id: ID!) { updateTool(id: $id, input: { name: "Later" }) { id } }', { id });
  const seen: unknown[] = [];
  while (seen.length < 3) {
    const { value } = await changes.next();
    if (value?.data.sharesChanged.toolId === id) seen.push(value.data.sharesChanged);
  }
  expect(seen).toEqual(["USE", "VIEW", null].map((access) => ({ toolId: id, userId: viewer.userId, access })));
  await changes.return?.();

  const told = async (caller: Caller) => {
    const kindsSeen: string[] = [];
    const events = await subscribeOn(fixture.subgraph, kinds, { id }, caller);
    while (kindsSeen.at(-1) !== "UPDATED") {
      const { value } = await events.next();
      kindsSeen.push((value as { data: { toolChanged: { kind: string } } }).data.toolChanged.kind);
    }
    await events.return?.();
    return kindsSeen;
  };
  for (const caller of [author, admin, viewer])
    expect(await told(caller)).toEqual(["CREATED", "SHARED", "SHARED", "UNSHARED", "UPDATED"]);
  expect(await told(otherDeveloper)).toEqual(["CREATED", "UPDATED"]);
});
