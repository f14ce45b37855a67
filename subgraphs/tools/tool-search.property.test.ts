import { createEventLog, createInProcessBus } from "@toolyard/events";
import { newId, type Page } from "@toolyard/service-kit";
import type { Database } from "@toolyard/storage";
import { onEachDatabase, openSqliteTwice, type OpenTwice } from "@toolyard/testing/sql-stores.ts";
import fc from "fast-check";
import { expect, test } from "vitest";
import { entities, migrationsFolder, toolEventSchema } from "./database.ts";
import type { Tool, ToolFilter, ToolStore, ToolVersion } from "./tool-store.ts";
import { createSqlToolStore } from "./tool-store.sql.ts";
import type { ToolEventPayload } from "./tool-store.ts";

type WithStore = (work: (store: ToolStore, database: Database) => Promise<void>) => Promise<void>;

const withStore =
  (open: OpenTwice): WithStore =>
  async (work) => {
    const bus = createInProcessBus();
    const { databases, opened, close } = await open({ entities, migrationsFolder }, (database) =>
      createSqlToolStore({
        database,
        events: createEventLog<ToolEventPayload>({ database, schema: toolEventSchema, bus }),
        blockTexts: 2,
      }),
    );
    try {
      await work(opened[0], databases[0]);
    } finally {
      await close();
    }
  };

type Content = Pick<Tool, "name" | "description" | "tags">;

function toolOf(content: Content, index: number): { tool: Tool; version: ToolVersion } {
  const [id, versionId] = [newId(), newId()];
  const times = { createdAt: index, updatedAt: index, deletedAt: null };
  const version: ToolVersion = {
    ...content,
    id: versionId,
    toolId: id,
    number: 1,
    launch: { kind: "stdio" } as ToolVersion["launch"], // not read here
    configSchema: null,
    digest: "d",
    changeSummary: null,
    source: "MANUAL",
    commitSha: null,
    createdById: null,
    createdAt: index,
  };
  const slug = `slug-${index}`;
  const current = { currentVersionId: versionId, currentNumber: 1 };
  return { tool: { ...content, id, slug, authorId: null, templateId: null, ...current, ...times }, version };
}

/** What a search means: each word is somewhere in what is shown of the tool, without regard to case and compatibility forms. */
function finds({ words, tag, includeDeleted }: ToolFilter, tool: Tool): boolean {
  const fold = (text: string) => text.normalize("NFKC").toLowerCase();
  const text = fold([tool.slug, tool.name, tool.description, ...tool.tags].join("\n"));
  return (
    (includeDeleted || tool.deletedAt === null) &&
    (tag === null || tool.tags.includes(tag)) &&
    words.every((word) => !word.includes("\0") && text.includes(fold(word)))
  );
}

const letters = fc.constantFrom(
  "a",
  "b",
  "A",
  "ß",
  "Σ",
  "ﬁ",
  "天",
  "气",
  "🚀",
  "%",
  "_",
  "!",
  '"',
  "*",
  "-",
  "\ufffd",
  "\uffff",
  "é",
);
const word = fc.oneof(
  fc.string({ unit: letters, minLength: 1, maxLength: 5 }),
  fc.constantFrom("slug", "OR", "NEAR(a b)", "slug-1"),
);
const line = fc.array(word, { minLength: 1, maxLength: 4 }).map((words) => words.join(" "));
const tags = fc.uniqueArray(fc.constantFrom("a", "ab", "Ab", "天气", "abc"), { maxLength: 3 });
const content = fc.record({
  name: line,
  description: fc.array(line, { maxLength: 3 }).map((lines) => lines.join("\n")),
  tags,
});
const change = fc.oneof(
  fc.record({ create: content }),
  fc.record({ at: fc.nat(), update: content }),
  fc.record({ at: fc.nat(), deleted: fc.boolean() }),
);
const filter = fc.record({
  words: fc.array(fc.oneof(word, fc.string({ unit: "binary", minLength: 1, maxLength: 4 })), {
    minLength: 1,
    maxLength: 3,
  }),
  tag: fc.option(fc.constantFrom("a", "ab", "天气", "none", ""), { freq: 2 }),
  includeDeleted: fc.boolean(),
});
const page = fc.record({
  limit: fc.integer({ min: 1, max: 4 }),
  offset: fc.constantFrom(0, 0, 1, 2),
  after: fc.option(fc.nat()),
});

onEachDatabase((name, open) =>
  test(`on ${name}, whatever was registered, changed and deleted, a search finds what has its words, in pages of the newest first`, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(change, { maxLength: 15 }),
        fc.array(fc.tuple(filter, page), { minLength: 4, maxLength: 8 }),
        (changes, searches) =>
          withStore(open)(async (store) => {
            const tools: Tool[] = [];
            for (const one of changes) {
              if ("create" in one) {
                const { tool, version } = toolOf(one.create, tools.length);
                await store.insert(tool, version);
                tools.push(tool);
                continue;
              }
              const tool = tools[one.at % Math.max(1, tools.length)];
              if (!tool) continue;
              if ("deleted" in one) {
                if (await store.setDeleted(tool.id, one.deleted, 1)) tool.deletedAt = one.deleted ? 1 : null;
              } else {
                const number = tool.currentNumber + 1;
                const version = { ...toolOf(one.update, 0).version, toolId: tool.id, number };
                if ((await store.commit(version, tool.currentVersionId)) === "committed")
                  Object.assign(tool, one.update, { currentVersionId: version.id, currentNumber: number });
              }
            }
            const newestFirst = tools.toReversed();
            for (const [filter, { limit, offset, after }] of searches) {
              const afterId = after === null ? null : (tools[after % Math.max(1, tools.length)]?.id ?? null);
              const page: Page = { limit, offset, afterId };
              const all = newestFirst.filter((tool) => finds(filter, tool));
              const rows = await store.page(filter, page).rows();
              const rest = all.filter(({ id }) => afterId === null || id < afterId);
              expect(rows.map(({ slug }) => slug)).toEqual(
                rest.slice(offset, offset + limit + 1).map(({ slug }) => slug),
              );
              expect(await store.page(filter, page).totalCount()).toBe(all.length);
            }
          }),
      ),
      // Tables on a server are made in a second.
      { numRuns: name === "SQLite" ? 150 : 8 },
    );
  }),
);

test("the index stays in few segments, which each write merges a bounded piece of; SQLite merges none by itself", async () => {
  await withStore(openSqliteTwice)(async (store, database) => {
    for (let index = 0; index < 300; index += 1) {
      const { tool, version } = toolOf(
        { name: `n${index}`, description: `about ${index * 7_919}`, tags: ["t"] },
        index,
      );
      await store.insert(tool, version);
      if (index % 3 === 0) await store.setDeleted(tool.id, true, index);
    }
    for (const table of ["tool_index", "deleted_tool_index"]) {
      const config = await database.read.query(`SELECT k, v FROM ${table}_config WHERE k LIKE '%merge' ORDER BY k`);
      expect(config).toEqual([
        { k: "automerge", v: 0 },
        { k: "crisismerge", v: 1_000 },
      ]);
      const [found] = await database.read.query<{ segments: number }[]>(
        `SELECT COUNT(DISTINCT segid) AS segments FROM ${table}_idx`,
      );
      expect(found?.segments).toBeLessThan(30);
    }
  });
});
