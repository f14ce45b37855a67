import { createServiceCaller, type Caller } from "@toolyard/service-kit";
import { codeOf, dataOf, executeOn, subscribeOn } from "@toolyard/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  CREATE,
  UPDATE,
  admin,
  createToolsFixture,
  developer,
  otherDeveloper,
  stdioLaunch,
  viewer,
  type CreatedTool,
  type ToolsFixture,
} from "./fixtures/subgraph.ts";

let fixture: ToolsFixture;
beforeAll(async () => {
  fixture = await createToolsFixture();
});
afterAll(() => fixture[Symbol.asyncDispose]());

const input = (extra: Record<string, unknown> = {}) => ({
  name: "Weather",
  description: "Tells the weather",
  launch: stdioLaunch,
  ...extra,
});

async function create(extra: Record<string, unknown> = {}, caller: Caller = developer): Promise<CreatedTool> {
  const data = await dataOf<{ createTool: CreatedTool }>(fixture.subgraph, CREATE, { input: input(extra) }, caller);
  return data.createTool;
}

async function update(id: string, change: Record<string, unknown>, caller: Caller = developer): Promise<CreatedTool> {
  const variables = { id, input: change };
  return (await dataOf<{ updateTool: CreatedTool }>(fixture.subgraph, UPDATE, variables, caller)).updateTool;
}

const LAUNCH = `launch { __typename
  ... on StdioLaunch { command args workingDirectory sessions env { name value secret } options { timeoutSeconds maxConcurrentCalls enforceApproval resources { cpus memoryMb } health { livenessPath startTimeoutSeconds intervalSeconds timeoutSeconds failureThreshold successThreshold } } }
  ... on HttpLaunch { path httpEnv: env { name value secret } }
  ... on ImageLaunch { image port writablePaths }
  ... on RemoteLaunch { url headers { name value secret } } }`;

describe("registering a tool", () => {
  test("answers the tool with its first version and is found by id and by slug", async () => {
    const tool = await create({ tags: ["weather", "forecast", "weather"] });
    expect(tool).toMatchObject({ name: "Weather", tags: ["weather", "forecast"], authorId: developer.userId });
    expect(tool.currentVersion).toMatchObject({ number: 1, source: "MANUAL", changeSummary: "Created" });
    expect(tool.currentVersion.digest).toMatch(/^[0-9a-f]{64}$/);
    const query = `query ($id: ID, $slug: String) { tool(id: $id, slug: $slug) { id slug author { id } ${LAUNCH} } }`;
    const byId = await dataOf<{ tool: Record<string, unknown> }>(fixture.subgraph, query, { id: tool.id }, viewer);
    const bySlug = await dataOf(fixture.subgraph, query, { slug: tool.slug }, viewer);
    expect(bySlug).toEqual(byId);
    expect(byId.tool).toMatchObject({
      author: { id: developer.userId },
      launch: {
        __typename: "StdioLaunch",
        command: "node",
        args: ["/srv/server.js"],
        sessions: "ISOLATED",
        options: { timeoutSeconds: 30, maxConcurrentCalls: null, resources: null, health: { startTimeoutSeconds: 60 } },
      },
    });
  });

  test("survives a restart", async () => {
    const { id } = await create({ name: "Kept" });
    await fixture.reopen();
    const { tool } = await dataOf<{ tool: unknown }>(
      fixture.subgraph,
      `query ($id: ID) { tool(id: $id) { name } }`,
      { id },
      viewer,
    );
    expect(tool).toEqual({ name: "Kept" });
  });

  test("takes a slug of its own, which nobody gets again, not even after a deletion", async () => {
    const { id } = await create({ slug: "only-one" });
    const again = () => executeOn(fixture.subgraph, CREATE, { input: input({ slug: "only-one" }) }, admin);
    expect((await again()).errors).toMatchObject([
      { code: "CONFLICT", extensions: { problems: [{ path: "input.slug" }] } },
    ]);
    await dataOf(fixture.subgraph, `mutation ($id: ID!) { deleteTool(id: $id) { deletedAt } }`, { id }, developer);
    expect((await again()).errors[0]?.code).toBe("CONFLICT");
  });

  test("makes slugs from names, with a number when one is taken", async () => {
    const made = await Promise.all(Array.from({ length: 5 }, () => create({ name: "Ünïque Näme!" })));
    expect(made.map(({ slug }) => slug).toSorted()).toEqual(
      ["unique-name", "unique-name-2", "unique-name-3", "unique-name-4", "unique-name-5"].toSorted(),
    );
  });

  test("takes every kind of launch", async () => {
    const launches = [
      { http: { command: "node", args: ["/srv/http.js"], path: "/api/mcp" } },
      { image: { image: "ghcr.io/owner/name:1.2@sha256:" + "a".repeat(64), port: 8080 } },
      { image: { image: "ghcr.io/owner/name:1.2", writablePaths: ["/var/cache"] } },
      { remote: { url: "https://example.com/mcp?x=1", headers: [{ name: "X-Team", value: "blue" }] } },
    ];
    const shown = [];
    for (const launch of launches) {
      const { id } = await create({ launch });
      const { tool } = await dataOf<{ tool: { launch: unknown } }>(
        fixture.subgraph,
        `query ($id: ID) { tool(id: $id) { ${LAUNCH} } }`,
        { id },
        developer,
      );
      shown.push(tool.launch);
    }
    expect(shown).toMatchObject([
      { __typename: "HttpLaunch", path: "/api/mcp" },
      { __typename: "ImageLaunch", port: 8080, writablePaths: [] },
      { __typename: "ImageLaunch", writablePaths: ["/var/cache"] },
      { __typename: "RemoteLaunch", headers: [{ name: "X-Team", value: "blue", secret: false }] },
    ]);
  });

  test("is refused to those who may not", async () => {
    const as = (caller?: Caller) => codeOf(fixture.subgraph, CREATE, { input: input() }, caller);
    expect(await as()).toBe("UNAUTHENTICATED");
    expect(await as(viewer)).toBe("FORBIDDEN");
    expect(await as(createServiceCaller("proxy", ["internal:sealed-launch"]))).toBe("FORBIDDEN");
  });
});

describe("reading", () => {
  test("takes exactly one of id and slug", async () => {
    expect(await codeOf(fixture.subgraph, `{ tool { id } }`, {}, viewer)).toBe("BAD_USER_INPUT");
    expect(await codeOf(fixture.subgraph, `{ tool(id: "a", slug: "b") { id } }`, {}, viewer)).toBe("BAD_USER_INPUT");
    expect(await dataOf(fixture.subgraph, `{ tool(slug: "never-there") { id } }`, {}, viewer)).toEqual({ tool: null });
    expect(await codeOf(fixture.subgraph, `{ tool(id: "a") { id } }`)).toBe("UNAUTHENTICATED");
  });

  test("lists newest first, by words, by tag, in pages", async () => {
    const mark = "zebra";
    for (const name of ["One", "Two", "Three"]) {
      await create({ name: `${name} ${mark}`, description: "Größe 100%_", tags: [`${mark}-tag`, name] });
    }
    const list = `query ($search: String, $tag: String, $first: Int, $after: String, $offset: Int, $deleted: Boolean) {
      tools(search: $search, tag: $tag, first: $first, after: $after, offset: $offset, includeDeleted: $deleted) { totalCount pageInfo { hasNextPage endCursor } edges { node { name } } } }`;
    const names = async (variables: Record<string, unknown>) => {
      type Answer = {
        tools: {
          totalCount: number;
          pageInfo: { hasNextPage: boolean; endCursor: string };
          edges: { node: { name: string } }[];
        };
      };
      const { tools } = await dataOf<Answer>(fixture.subgraph, list, variables, viewer);
      return { ...tools, names: tools.edges.map(({ node }) => node.name.split(" ")[0]) };
    };
    expect((await names({ search: "ZEBRA" })).names).toEqual(["Three", "Two", "One"]);
    expect((await names({ search: "two zebra" })).names).toEqual(["Two"]);
    expect((await names({ search: "GRÖSSE" })).names).toEqual([]); // ß is not folded to ss
    expect((await names({ search: "größe 100%_ zebra" })).names).toHaveLength(3);
    expect((await names({ search: "zebra 1_0" })).names).toEqual([]);
    expect((await names({ tag: "zebra-tag" })).names).toEqual(["Three", "Two", "One"]);
    expect((await names({ tag: "zebra-tag", search: "one" })).names).toEqual(["One"]);
    const first = await names({ tag: "zebra-tag", first: 2 });
    expect(first).toMatchObject({ totalCount: 3, names: ["Three", "Two"], pageInfo: { hasNextPage: true } });
    await create({ name: `Four ${mark}`, tags: [`${mark}-tag`] });
    expect((await names({ tag: "zebra-tag", first: 2, after: first.pageInfo.endCursor })).names).toEqual(["One"]);
    expect((await names({ tag: "zebra-tag", offset: 1 })).names).toEqual(["Three", "Two", "One"]);
    expect(await codeOf(fixture.subgraph, list, { first: 101 }, viewer)).toBe("BAD_USER_INPUT");
    expect(await codeOf(fixture.subgraph, list, { search: "x".repeat(201) }, viewer)).toBe("BAD_USER_INPUT");
  });

  test("answers entities by id and by slug in one batch each", async () => {
    const [one, two] = [await create(), await create()];
    const query = `query ($r: [_Any!]!) { _entities(representations: $r) { ... on Tool { id slug } ... on ToolVersion { number } } }`;
    const r = [
      { __typename: "Tool", id: one.id },
      { __typename: "Tool", slug: two.slug },
      { __typename: "Tool", id: "nowhere" },
      { __typename: "ToolVersion", id: one.currentVersion.id },
    ];
    const answer = await dataOf(fixture.subgraph, query, { r }, createServiceCaller("deployments", []));
    expect(answer._entities).toEqual([
      { id: one.id, slug: one.slug },
      { id: two.id, slug: two.slug },
      null,
      { number: 1 },
    ]);
    expect(await codeOf(fixture.subgraph, query, { r: r.slice(0, 1) })).toBe("UNAUTHENTICATED");
  });
});

describe("changing a tool", () => {
  test("makes a new version, keeps what is left out, and says what changed", async () => {
    const tool = await create({ tags: ["a"] });
    const renamed = await update(tool.id, { name: "Renamed" });
    expect(renamed).toMatchObject({ name: "Renamed", description: "Tells the weather", tags: ["a"], slug: tool.slug });
    expect(renamed.currentVersion).toMatchObject({
      number: 2,
      changeSummary: "Changed name",
      digest: tool.currentVersion.digest,
    });
    const moved = await update(tool.id, {
      launch: { stdio: { command: "node", args: ["/srv/other.js"], env: [{ name: "A", value: "1" }] } },
      tags: [],
    });
    expect(moved.currentVersion).toMatchObject({ number: 3, changeSummary: "Changed tags, launch (args, env.A)" });
    expect(moved.currentVersion.digest).not.toBe(tool.currentVersion.digest);
    const said = await update(tool.id, { configSchema: { type: "object" }, changeSummary: "Takes configuration" });
    expect(said).toMatchObject({
      configSchema: { type: "object" },
      currentVersion: { changeSummary: "Takes configuration" },
    });
    expect((await update(tool.id, { configSchema: null })).configSchema).toBeNull();
  });

  test("that changes nothing makes no version", async () => {
    const tool = await create({
      launch: { stdio: { command: "node", env: [{ name: "T", value: "s", secret: true }] } },
    });
    const same = {
      name: "Weather",
      launch: { stdio: { command: "node", args: [], env: [{ name: "T", value: "s", secret: true }] } },
    };
    expect((await update(tool.id, same)).currentVersion).toMatchObject({ number: 1, id: tool.currentVersion.id });
    expect((await update(tool.id, {})).currentVersion.number).toBe(1);
  });

  test("with the version of somebody else's change is a conflict", async () => {
    const { id } = await create();
    await update(id, { name: "First", expectedVersion: 1 });
    const { errors } = await executeOn(
      fixture.subgraph,
      UPDATE,
      { id, input: { name: "Second", expectedVersion: 1 } },
      developer,
    );
    expect(errors).toMatchObject([{ code: "CONFLICT", extensions: { currentVersion: 2 } }]);
  });

  test("is for its author and administrators", async () => {
    const { id } = await create();
    const as = (caller?: Caller, toolId = id) =>
      codeOf(fixture.subgraph, UPDATE, { id: toolId, input: { name: "X" } }, caller);
    expect(await as()).toBe("UNAUTHENTICATED");
    expect(await as(viewer)).toBe("FORBIDDEN");
    expect(await as(otherDeveloper)).toBe("FORBIDDEN");
    expect(await as(admin)).toBeNull();
    expect(await as(developer, "nowhere")).toBe("NOT_FOUND");
  });

  test("shows its history newest first, and single versions as they were", async () => {
    const { id } = await create();
    await update(id, { name: "Second" });
    await update(id, { name: "Third" });
    const query = `query ($id: ID, $after: String) { tool(id: $id) { version(number: 1) { name } none: version(number: 9) { name }
      versions(first: 2, after: $after) { totalCount pageInfo { hasNextPage endCursor } edges { node { number name createdBy { id } } } } } }`;
    type Answer = { tool: { versions: { pageInfo: { endCursor: string } } } };
    const page = await dataOf<Answer>(fixture.subgraph, query, { id }, viewer);
    const createdBy = { id: developer.userId };
    expect(page.tool).toMatchObject({
      version: { name: "Weather" },
      none: null,
      versions: {
        totalCount: 3,
        pageInfo: { hasNextPage: true },
        edges: [{ node: { number: 3, name: "Third", createdBy } }, { node: { number: 2, name: "Second" } }],
      },
    });
    const rest = await dataOf<Answer>(
      fixture.subgraph,
      query,
      { id, after: page.tool.versions.pageInfo.endCursor },
      viewer,
    );
    expect(rest.tool.versions).toMatchObject({ pageInfo: { hasNextPage: false }, edges: [{ node: { number: 1 } }] });
  });

  test("can be taken back to an earlier version, as a new one", async () => {
    const tool = await create({ tags: ["old"] });
    await update(tool.id, { name: "New", tags: ["new"], launch: { stdio: { command: "deno" } } });
    const revert = `mutation ($id: ID!, $n: Int!) { revertTool(id: $id, versionNumber: $n) { name tags currentVersion { number source digest changeSummary } } }`;
    const { revertTool } = await dataOf<{ revertTool: unknown }>(
      fixture.subgraph,
      revert,
      { id: tool.id, n: 1 },
      developer,
    );
    expect(revertTool).toEqual({
      name: "Weather",
      tags: ["old"],
      currentVersion: {
        number: 3,
        source: "REVERT",
        digest: tool.currentVersion.digest,
        changeSummary: "Reverted to version 1",
      },
    });
    expect(await codeOf(fixture.subgraph, revert, { id: tool.id, n: 7 }, developer)).toBe("NOT_FOUND");
    expect(await codeOf(fixture.subgraph, revert, { id: tool.id, n: 1 }, otherDeveloper)).toBe("FORBIDDEN");
  });
});

describe("deleting a tool", () => {
  const remove = `mutation ($id: ID!) { deleteTool(id: $id) { id deletedAt } }`;
  const restore = `mutation ($id: ID!) { restoreTool(id: $id) { id deletedAt } }`;
  const listed = `query ($tag: String, $deleted: Boolean) { tools(tag: $tag, includeDeleted: $deleted) { totalCount } }`;

  test("of another version than the caller expects is a conflict, and changes nothing", async () => {
    const { id } = await create();
    await update(id, { name: "Second" });
    const atVersion = `mutation ($id: ID!, $version: Int) { deleteTool(id: $id, expectedVersion: $version) { id deletedAt } }`;
    const { errors } = await executeOn(fixture.subgraph, atVersion, { id, version: 1 }, developer);
    expect(errors).toMatchObject([{ code: "CONFLICT", extensions: { currentVersion: 2 } }]);
    expect(await dataOf(fixture.subgraph, `query ($id: ID) { tool(id: $id) { deletedAt } }`, { id }, viewer)).toEqual({
      tool: { deletedAt: null },
    });
    const gone = await dataOf(fixture.subgraph, atVersion, { id, version: 2 }, developer);
    expect(gone).toMatchObject({ deleteTool: { deletedAt: expect.any(String) as unknown } });
    expect(await dataOf(fixture.subgraph, atVersion, { id, version: 2 }, developer)).toEqual(gone);
  });

  test("takes it out of the lists, keeps it readable, and can be taken back", async () => {
    const { id, slug } = await create({ tags: ["doomed"] });
    const gone = await dataOf<{ deleteTool: { deletedAt: string } }>(fixture.subgraph, remove, { id }, developer);
    expect(gone.deleteTool.deletedAt).toMatch(/Z$/);
    expect(await dataOf(fixture.subgraph, remove, { id }, developer)).toEqual(gone);
    expect(
      await dataOf(fixture.subgraph, `query ($slug: String) { tool(slug: $slug) { id deletedAt } }`, { slug }, viewer),
    ).toEqual({ tool: gone.deleteTool });
    expect(await dataOf(fixture.subgraph, listed, { tag: "doomed" }, viewer)).toEqual({ tools: { totalCount: 0 } });
    expect(await dataOf(fixture.subgraph, listed, { tag: "doomed", deleted: true }, viewer)).toEqual({
      tools: { totalCount: 1 },
    });
    expect(await codeOf(fixture.subgraph, UPDATE, { id, input: { name: "X" } }, developer)).toBe("CONFLICT");
    expect(await dataOf(fixture.subgraph, restore, { id }, developer)).toEqual({
      restoreTool: { id, deletedAt: null },
    });
    expect(await dataOf(fixture.subgraph, listed, { tag: "doomed" }, viewer)).toEqual({ tools: { totalCount: 1 } });
  });

  test("has its deployments stopped, and is not done where they cannot be", async () => {
    const { id } = await create();
    fixture.deploymentsAway = true;
    expect(await codeOf(fixture.subgraph, remove, { id }, developer)).toBe("UPSTREAM_UNAVAILABLE");
    expect(await dataOf(fixture.subgraph, `query ($id: ID) { tool(id: $id) { deletedAt } }`, { id }, viewer)).toEqual({
      tool: { deletedAt: null },
    });
    fixture.deploymentsAway = false;
    expect(await codeOf(fixture.subgraph, remove, { id }, otherDeveloper)).toBe("FORBIDDEN");
    expect(fixture.stopped).not.toContain(id);
    await dataOf(fixture.subgraph, remove, { id }, developer);
    expect(fixture.stopped).toContain(id);
  });

  test("is for its author and administrators", async () => {
    const { id } = await create();
    expect(await codeOf(fixture.subgraph, remove, { id }, otherDeveloper)).toBe("FORBIDDEN");
    expect(await codeOf(fixture.subgraph, restore, { id: "nowhere" }, developer)).toBe("NOT_FOUND");
  });
});

describe("watching tools", () => {
  test("replays the log from `after` and goes on live, of one tool", async () => {
    const { id } = await create();
    await create();
    await update(id, { name: "Watched" });
    const query = `subscription ($id: ID, $after: String) { toolChanged(id: $id, after: $after) { sequence kind toolId tool { name deletedAt } } }`;
    type Change = {
      toolChanged: { sequence: string; kind: string; toolId: string; tool: { name: string; deletedAt: string | null } };
    };
    await using stream = await subscribeOn<Change>(fixture.subgraph, query, { id, after: "0" }, viewer);
    const next = async () => (await stream.next()).value?.data?.toolChanged;
    expect(await next()).toMatchObject({ kind: "CREATED", toolId: id });
    const seen = await next();
    expect(seen).toMatchObject({ kind: "UPDATED", tool: { name: "Watched" } });
    const coming = next();
    await dataOf(fixture.subgraph, `mutation ($id: ID!) { deleteTool(id: $id) { id } }`, { id }, developer);
    expect(await coming).toMatchObject({ kind: "DELETED", tool: { deletedAt: expect.any(String) } });
    await dataOf(fixture.subgraph, `mutation ($id: ID!) { restoreTool(id: $id) { id } }`, { id }, developer);
    await using resumed = await subscribeOn<Change>(fixture.subgraph, query, { id, after: seen?.sequence }, viewer);
    expect((await resumed.next()).value?.data?.toolChanged.kind).toBe("DELETED");
    expect((await resumed.next()).value?.data?.toolChanged).toMatchObject({
      kind: "RESTORED",
      tool: { deletedAt: null },
    });
    await expect(subscribeOn(fixture.subgraph, query, {})).rejects.toThrow("UNAUTHENTICATED");
  });
});

test("counts its tools and says that its store is well", async () => {
  const counts = async () =>
    Object.fromEntries((await fixture.subgraph.gauges?.())?.map(({ name, value }) => [name, value]) ?? []);
  const { mcp_tools = 0, mcp_tools_total = 0 } = await counts();
  await create();
  expect(await counts()).toEqual({ mcp_tools: mcp_tools + 1, mcp_tools_total: mcp_tools_total + 1 });
  expect(await fixture.subgraph.health()).toMatchObject([{ name: "sqlite", status: "healthy" }]);
});
