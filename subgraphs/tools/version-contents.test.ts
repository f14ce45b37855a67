import { createEventLog, createInProcessBus } from "@toolyard/events";
import { DEFAULT_OPTIONS, variablesOf, type StoredLaunch } from "@toolyard/launch";
import { ToolyardError, createSealer, newId } from "@toolyard/service-kit";
import { createResealer } from "@toolyard/service-kit/identity/resealing.ts";
import { openDatabase, readMigrations, type Database } from "@toolyard/storage";
import { describeOnMongodb, ownMongodb } from "@toolyard/testing/mongodb.ts";
import fc from "fast-check";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { entities, migrationsFolder, toolEventSchema } from "./database.ts";
import { createSqlToolStore } from "./tool-store.sql.ts";
import type { Tool, ToolEventPayload, ToolVersion } from "./tool-store.ts";
import { createMongodbVersionContents, resealVersionContents } from "./version-contents.mongodb.ts";
import type { NewContent, StatedContent, VersionContents } from "./version-contents.ts";

const DAY_MS = 86_400_000;
const NOW = 1_800_000_000_000;
const FIRST_PAGE = { limit: 100, afterId: null, offset: 0 };
const launch = {
  kind: "stdio",
  command: "server",
  args: [],
  env: [],
  workingDirectory: null,
  sessions: "ISOLATED",
  options: { ...DEFAULT_OPTIONS, resources: null },
} satisfies StoredLaunch;
const content: StatedContent = {
  name: "Weather",
  description: "Tells it.",
  tags: ["sky"],
  launch,
  configSchema: null,
  changeSummary: "Created",
};

function toolOf(more: Partial<StatedContent> = {}): { tool: Tool; version: ToolVersion } {
  const [id, versionId] = [newId(), newId()];
  const whole = { ...content, ...more };
  const { name, description, tags } = whole;
  return {
    tool: {
      id,
      slug: `t-${id}`,
      name,
      description,
      tags,
      authorId: null,
      templateId: null,
      currentVersionId: versionId,
      currentNumber: 1,
      createdAt: NOW,
      updatedAt: NOW,
      deletedAt: null,
    },
    version: {
      id: versionId,
      toolId: id,
      number: 1,
      ...whole,
      digest: "d",
      source: "MANUAL",
      commitSha: null,
      createdById: null,
      createdAt: NOW,
    },
  };
}

async function openEmbedded(): Promise<Database> {
  return openDatabase({ file: ":memory:", entities, migrations: readMigrations(migrationsFolder) });
}

function storeOn(
  database: Database,
  contents: VersionContents | null,
  now = () => NOW,
  logger: { error(...line: unknown[]): void } = { error: () => undefined },
) {
  const events = createEventLog<ToolEventPayload>({ database, schema: toolEventSchema, bus: createInProcessBus() });
  return createSqlToolStore({ database, events, contents, logger, now });
}

const stated = ([key, { id: _id, versionId: _versionId, at: _at, ...said }]: [string, NewContent]) =>
  [key, said] satisfies [string, StatedContent];

/** Contents of this process, which may be away. */
function createContents() {
  const kept = new Map<string, NewContent>();
  const state = { isAway: false, reads: 0 };
  const there = () => {
    if (state.isAway) throw new ToolyardError("UPSTREAM_UNAVAILABLE", "It is away.");
  };
  const contents: VersionContents = {
    async write(written) {
      there();
      kept.set(written.id, written);
    },
    async read(ids) {
      there();
      state.reads += 1;
      return new Map(ids.flatMap((id) => [...kept].filter(([known]) => known === id).map(stated)));
    },
    async list(after, before, limit) {
      const all = [...kept.values()].filter(({ id, at }) => at < before && (after === null || id > after));
      return all.toSorted((a, b) => (a.id < b.id ? -1 : 1)).slice(0, limit);
    },
    async remove(ids) {
      there();
      for (const id of ids) kept.delete(id);
    },
  };
  return { contents, kept, state };
}

async function open() {
  const { contents, kept, state } = createContents();
  const database = await openEmbedded();
  onTestFinished(() => database.close());
  const logger = { error: vi.fn() };
  return { database, store: storeOn(database, contents, undefined, logger), logger, contents, kept, state };
}

test("a version whose content cannot be written is not there, nor is its tool", async () => {
  const { store, state } = await open();
  state.isAway = true;
  const { tool, version } = toolOf();
  await expect(store.insert(tool, version)).rejects.toMatchObject({ code: "UPSTREAM_UNAVAILABLE" });
  expect(await store.findByIds([tool.id])).toEqual([]);
  expect(await store.findVersionsByIds([version.id])).toEqual([]);
  state.isAway = false;
  expect(await store.insert(tool, version)).toBe("inserted");
  state.isAway = true;
  const next = { ...version, id: newId(), number: 2 };
  await expect(store.commit(next, version.id)).rejects.toMatchObject({ code: "UPSTREAM_UNAVAILABLE" });
  expect(await store.findByIds([tool.id])).toEqual([tool]);
  expect(await store.versionCounts([tool.id])).toEqual([1]);
});

test("a change that is refused leaves no content, unless it cannot be removed: then its day ends it", async () => {
  const { store, kept, state, contents } = await open();
  const { tool, version } = toolOf();
  await store.insert(tool, version);
  const { tool: other, version: otherVersion } = toolOf();
  expect(await store.insert({ ...other, slug: tool.slug }, otherVersion)).toBe("slug-taken");
  expect(kept.size).toBe(1);
  const late = { ...version, id: newId(), number: 2 };
  const { write } = contents;
  contents.write = async (written) => {
    await write(written);
    state.isAway = true;
  };
  expect(await store.commit(late, newId())).toBe("superseded");
  state.isAway = false;
  expect(kept.size).toBe(2);
  expect(await store.removeStrayContents(NOW)).toBe(0);
  expect(await store.removeStrayContents(NOW + 1)).toBe(1);
  expect(await store.findVersionsByIds([version.id])).toEqual([version]);
});

test("a process that dies between the two databases leaves nothing that is seen, and nothing after a day", async () => {
  const { database, contents, kept, store } = await open();
  const { tool, version } = toolOf();
  await store.insert(tool, version);
  const dying = storeOn(
    { ...database, transaction: () => Promise.reject(new Error("The process is gone.")) },
    contents,
    () => NOW + DAY_MS,
  );
  await expect(dying.commit({ ...version, id: newId(), number: 2 }, version.id)).rejects.toThrow("gone");
  expect(kept.size).toBe(2);
  expect(await store.versionPages([tool.id], FIRST_PAGE)).toEqual([[version]]);
  expect(await store.removeStrayContents(NOW + DAY_MS)).toBe(0);
  expect(await store.removeStrayContents(NOW + DAY_MS + 1)).toBe(1);
  expect(kept.size).toBe(1);
  expect(await store.removeStrayContents(NOW + 9 * DAY_MS)).toBe(0);
  expect(await store.findVersion(tool.id, 1)).toEqual(version);
});

test("stray contents are looked for in parts, until somebody stops it", async () => {
  const { store, contents, kept } = await open();
  for (let n = 0; n < 1_100; n += 1) await contents.write({ ...content, id: newId(), versionId: newId(), at: NOW });
  expect(await store.removeStrayContents(NOW + 1, { signal: AbortSignal.abort() })).toBe(0);
  expect(await store.removeStrayContents(NOW + 1)).toBe(1_100);
  expect(kept.size).toBe(0);
});

test("versions of before stay in their rows and are shown; those in MongoDB are asked for by who has MONGODB_URL", async () => {
  const { database, store, logger, kept } = await open();
  const rowsAlone = storeOn(database, null);
  const { tool, version } = toolOf();
  await rowsAlone.insert(tool, version);
  const next = { ...version, id: newId(), number: 2, name: "Weather 2" };
  await store.commit(next, version.id);
  expect(kept.size).toBe(1);
  expect(await store.versionPages([tool.id], FIRST_PAGE)).toEqual([[next, version]]);
  expect(await rowsAlone.findVersion(tool.id, 1)).toEqual(version);
  await expect(rowsAlone.findVersion(tool.id, 2)).rejects.toMatchObject({
    code: "UPSTREAM_UNAVAILABLE",
    message: expect.stringContaining("MONGODB_URL"),
  });
  // The tool is listed all the same.
  expect(await rowsAlone.findByIds([tool.id])).toMatchObject([{ name: "Weather 2", currentNumber: 2 }]);
  kept.clear();
  const told = { code: "UPSTREAM_UNAVAILABLE", message: expect.stringMatching(/not in MongoDB.*MONGODB_URL/) };
  await expect(store.findVersion(tool.id, 2)).rejects.toMatchObject(told);
  await expect(store.findVersion(tool.id, 2)).rejects.toMatchObject(told);
  expect(logger.error).toHaveBeenCalledExactlyOnceWith({ missing: [expect.any(String)] }, told.message);
});

test("a page of versions of many tools takes one reading of contents", async () => {
  const { store, state } = await open();
  const made = Array.from({ length: 30 }, () => toolOf());
  for (const { tool, version } of made) {
    await store.insert(tool, version);
    await store.commit({ ...version, id: newId(), number: 2 }, version.id);
  }
  const ids = made.map(({ tool }) => tool.id);
  state.reads = 0;
  const pages = await store.versionPages(ids, FIRST_PAGE);
  expect(pages.map((versions) => versions.map(({ toolId, number }) => [toolId, number]))).toEqual(
    ids.map((id) => [
      [id, 2],
      [id, 1],
    ]),
  );
  expect(state.reads).toBe(1);
  await store.findVersionsOf(ids, 1);
  await store.findVersionsByIds(made.map(({ version }) => version.id));
  expect(state.reads).toBe(3);
});

describeOnMongodb("contents of versions in MongoDB", () => {
  const mongodb = ownMongodb();
  let database: Database;
  let contents: VersionContents;
  beforeAll(async () => {
    database = await openEmbedded();
    contents = await createMongodbVersionContents(await mongodb.open());
  });
  afterAll(async () => {
    await database.close();
    await mongodb.close();
  });

  test("come back as they were, as they do from rows", async () => {
    const [rows, apart] = [storeOn(database, null), storeOn(database, contents)];
    // No input has NUL.
    const text = fc.string({ unit: "binary", maxLength: 50 }).map((any) => any.replaceAll("\0", ""));
    const arbitrary = fc.record({
      name: text,
      description: text,
      tags: fc.array(text, { maxLength: 3 }).map((tags) => [...new Set(tags)]),
      command: fc.record({ command: text, args: fc.array(text, { maxLength: 3 }) }),
      configSchema: fc
        .option(fc.dictionary(text, fc.jsonValue({ maxDepth: 2 }), { maxKeys: 4 }))
        // JSON has no -0.
        .map((value) => JSON.parse(JSON.stringify(value)) as unknown),
      changeSummary: fc.option(text),
    });
    await fc.assert(
      fc.asyncProperty(arbitrary, async ({ command, ...given }) => {
        const more = { ...given, launch: { ...launch, ...command } };
        for (const store of [rows, apart]) {
          const { tool, version } = toolOf(more);
          await store.insert(tool, version);
          // Read by the one that knows both.
          const [found] = await apart.findVersionsByIds([version.id]);
          expect(found).toEqual(version);
          expect(JSON.stringify([found?.launch, found?.configSchema])).toBe(
            JSON.stringify([version.launch, version.configSchema]),
          );
        }
      }),
      { numRuns: 40 },
    );
  });

  test("are sealed with another key, each once, whoever stops it; what opens with no key is counted and stays", async () => {
    const [before, after] = [
      "an earlier key of more than thirty-two characters",
      "a key of more than thirty-two characters",
    ];
    const sealer = createSealer({ secretKey: before });
    const launchOf = (value: string): StoredLaunch => ({
      ...launch,
      env: [
        { name: "TOKEN", value, secret: true },
        { name: "NOTE", value: `sealed:v1:AAAAAAAAAAAA:${"A".repeat(50)}`, secret: false },
      ],
    });
    const written = Array.from({ length: 3 }, (_, n) => ({ id: newId(), versionId: `v${n}`, at: NOW }));
    for (const one of written)
      await contents.write({
        ...content,
        ...one,
        launch: launchOf(sealer.seal(`secret of ${one.versionId}`, one.versionId)),
      });
    const strange = {
      ...content,
      id: newId(),
      versionId: "strange",
      at: NOW,
      launch: launchOf(sealer.seal("x", "elsewhere")),
    };
    await contents.write(strange);
    const connection = await mongodb.open();
    const resealer = createResealer({ secretKey: after, previousSecretKeys: [before] });
    const run = (signal = new AbortController().signal) =>
      resealVersionContents(connection, resealer, { signal, say: () => undefined });
    await expect(run(AbortSignal.abort(new Error("stopped")))).rejects.toThrow("stopped");
    const unopened = new Map([["tool_versions.launch", 1]]);
    expect(await run()).toEqual({ opened: 3, resealed: 3, unopened });
    expect(await run()).toEqual({ opened: 3, resealed: 0, unopened });
    const read = await contents.read([...written, strange].map(({ id }) => id));
    const opener = createSealer({ secretKey: after });
    for (const { id, versionId } of written) {
      const [secret, note] = variablesOf(read.get(id)?.launch as StoredLaunch);
      expect(opener.open(secret?.value ?? "", versionId)).toBe(`secret of ${versionId}`);
      expect(note?.value).toMatch(/^sealed:v1:AAAAAAAAAAAA:/);
    }
    expect(read.get(strange.id)?.launch).toEqual(strange.launch);
    await contents.remove([...read.keys()]);
  });

  test("are listed in the order of writing, and removed", async () => {
    const ids = [newId(), newId(), newId()];
    const [first = "", , last = ""] = ids;
    for (const [place, id] of ids.entries())
      await contents.write({ ...content, id, versionId: `v${place}`, at: 1_000 + place });
    const range = (after: string | null, before: number, limit: number) => contents.list(after, before, limit);
    expect((await range(null, 1_002, 10)).map(({ versionId }) => versionId)).toEqual(["v0", "v1"]);
    expect((await range(first, 1_003, 1)).map(({ versionId }) => versionId)).toEqual(["v1"]);
    await contents.remove([first]);
    expect([...(await contents.read([...ids, "none"])).keys()].toSorted()).toEqual(ids.slice(1));
    await contents.remove(ids);
    expect((await contents.read([last])).size).toBe(0);
  });
});
