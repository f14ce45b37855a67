import { join } from "node:path";
import { openDatabase, readMigrations } from "@toolyard/storage";
import LibsqlDatabase from "libsql";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { entities, migrationsFolder } from "./database.ts";
import { createKnowledgeFixture, search, upload, type KnowledgeFixture } from "./fixtures/subgraph.ts";
import { parseSearchQuery } from "./search-query.ts";
import { createDocumentSearcher, searchCondition } from "./worker/document-searcher.ts";
import { createDocumentWriter } from "./worker/document-writer.ts";
import { toSearchExpression } from "./worker/search-expression.ts";

/** Enough for what is quadratic to take minutes. */
const MANY = 4_000;

let fixture: KnowledgeFixture;
beforeAll(async () => {
  fixture = await createKnowledgeFixture();
});
afterAll(() => fixture[Symbol.asyncDispose]());

const find = (query: string, more: Record<string, unknown> = {}) =>
  search(fixture.subgraph, { query, first: 100, ...more });

describe("a search", () => {
  test("among documents of one word over and over costs what another costs", async () => {
    const words = { word: "needle ", pair: "needle needles ", letter: "x ", joined: "needle-", lines: "needle\n" };
    for (const [title, unit] of Object.entries(words)) {
      await upload(fixture.subgraph, { title, content: unit.repeat(2_000_000 / unit.length), tags: ["long"] });
    }
    await upload(fixture.subgraph, { title: "giant", content: "n".repeat(2_000_000), tags: ["long"] });
    const queries = {
      needle: 4,
      "needle*": 4,
      '"needle needle needle"': 4,
      [`"${"needle ".repeat(31)}"`]: 4,
      [Array.from({ length: 32 }, () => "needle").join(" ")]: 4,
      [Array.from({ length: 32 }, () => "needle*").join(" ")]: 4,
      "n*": 5,
      "x -needle": 1,
      'x -"needle needle"': 1,
    };
    for (const [query, count] of Object.entries(queries)) {
      const { totalCount, hits } = await find(query, { tag: "long" });
      expect(totalCount, query).toBe(count);
      // A match that is no whole word of the passage is not marked: the word was too long to be kept.
      for (const { snippet, document } of hits)
        if (document.title !== "giant") expect(snippet, query).toMatch(/⟦[^⟦⟧]+⟧/);
      for (const { snippet } of hits) expect(snippet.length).toBeLessThan(3_000);
    }
  });

  test("among many documents, by a prefix, a tag or a tool, looks each up once", async () => {
    const database = new LibsqlDatabase(fixture.file);
    database.pragma("busy_timeout = 5000");
    database.pragma("synchronous = OFF");
    const writer = createDocumentWriter(database);
    for (let number = 0; number < MANY; number += 1) {
      writer.insert({
        document: {
          id: `many-${number}`,
          title: `Number ${number}`,
          contentType: "text/plain",
          tags: ["many"],
          metadata: null,
          toolId: "tool-1",
          uploadedById: "user-developer",
          createdAt: number,
          updatedAt: number,
        },
        content: { content: `docking dogs of dock${number} do`, encoding: "TEXT" },
      });
    }
    database.close();
    const filters = [{}, { tag: "many" }, { toolId: "tool-1" }, { tag: "many", toolId: "tool-1" }];
    for (const filter of filters) {
      for (const query of ["do*", "dog do*", "dogs", '"docking dogs"', "dogs -unknown*", 'dogs -"dogs dogs"']) {
        expect((await find(query, filter)).totalCount, `${query} ${JSON.stringify(filter)}`).toBe(MANY);
      }
      expect((await find("dogs -do*", filter)).totalCount).toBe(0);
    }
  });

  test("counts all that is found only where the count is wanted, and ranks and cuts only where hits are", async () => {
    await upload(fixture.subgraph, { title: "lynx", content: "a lynx" });
    const database = new LibsqlDatabase(fixture.file);
    const prepared: string[] = [];
    const prepare = database.prepare.bind(database);
    database.prepare = (sql) => (prepared.push(sql), prepare(sql));
    try {
      const { search: run } = createDocumentSearcher(database);
      const job = { query: parseSearchQuery("lynx"), filter: { toolIds: null, tag: null }, limit: 5, offset: 0 };
      expect(run({ ...job, wanted: ["totalCount"] })).toEqual({ hits: [], totalCount: 1 });
      expect(prepared).toEqual([expect.stringContaining("count(*)")]);
      prepared.length = 0;
      expect(run({ ...job, wanted: ["hits"] }).hits).toHaveLength(1);
      expect(prepared.filter((sql) => sql.includes("count(*)"))).toEqual([]);
    } finally {
      database.close();
    }
  });

  test("asks the full-text tables once each, whatever is looked for: the query plan of each kind", async () => {
    const file = join(fixture.file, "..", "plans.sqlite");
    await (await openDatabase({ file, entities, migrations: readMigrations(migrationsFolder) })).close();
    const database = new LibsqlDatabase(file);
    try {
      for (const query of ["a", "a*", '"a b"', '"a b"*', "a -b", "a -b*", 'a -"b c"', 'a b* "c d" -e -f* -"g h"']) {
        for (const toolIds of [null, ["t"], ["t", "u"]]) {
          for (const tag of [null, "g"]) {
            const expression = toSearchExpression(parseSearchQuery(query), () => ["bx", "by"]);
            if (expression === null) throw new Error("There is something to look for.");
            const { sql, values } = searchCondition(expression, { toolIds, tag });
            // As SQLite answers it.
            const plan = database
              .prepare(`EXPLAIN QUERY PLAN SELECT bm25(document_index) AS rank ${sql} ORDER BY rank`)
              .all(...values) as { id: number; parent: number; detail: string }[];
            // `M2` is a MATCH alone: with a rowid (`=`) FTS5 would search anew for each document.
            const steps = plan.filter(({ parent }) => parent === 0).map(({ detail }) => detail);
            expect(
              steps.filter((step) => /^(SCAN|SEARCH)/.test(step)),
              query,
            ).toEqual([
              "SCAN document_index VIRTUAL TABLE INDEX 0:M2",
              "SEARCH document_texts USING INTEGER PRIMARY KEY (rowid=?)",
              expect.stringMatching(
                /^SEARCH documents USING (COVERING )?INDEX sqlite_autoindex_documents_1 \(id=\?\)$/,
              ),
            ]);
            for (const { detail } of plan) {
              expect(detail, query).not.toMatch(/CORRELATED|AUTOMATIC/);
              if (detail.startsWith("SCAN")) expect(detail, query).toMatch(/VIRTUAL TABLE INDEX 0:M\d+$/);
            }
          }
        }
      }
    } finally {
      database.close();
    }
  });
});
