import { createLogger, newId } from "@toolyard/service-kit";
import { describeOnMongodb, ownMongodb } from "@toolyard/testing/mongodb.ts";
import { openSqliteTwice } from "@toolyard/testing/sql-stores.ts";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { entities, migrationsFolder } from "./database.ts";
import { createMongodbDocumentStore } from "./document-store.mongodb.ts";
import { createSqlDocumentStore } from "./document-store.sql.ts";
import type { DocumentIndex, Hit, SearchFilter } from "./document-index.ts";
import type { DocumentStore } from "./document-store.ts";
import { parseSearchQuery } from "./search-query.ts";

const logger = createLogger({ level: "silent", name: "test" });

/** Words of one stem, words that begin alike, with diacritics, in several cases and scripts. */
const VOCABULARY =
  "generate Generation generator general gently storm storms stormy Stra\u00dfe strasse Z\u00fcrich zurich zu\u0308rich \u6771\u4eac \u6771 x42 x y-z snake_case don't caf\u00e9 \u0391\u03b8\u03ae\u03bd\u03b1 \u{16b00} e\u0301 a\u0303\u20dd".split(
    " ",
  );
const TOOLS = ["tool-1", "tool-2", null] as const;
const TAGS = ["red", "blue"];
const oneWord = fc.constantFrom(...VOCABULARY);
const document = fc.record({
  title: fc.array(oneWord, { minLength: 1, maxLength: 3 }),
  // Some are of several passages.
  words: fc.oneof(
    { weight: 4, arbitrary: fc.array(oneWord, { maxLength: 30 }) },
    { weight: 1, arbitrary: fc.array(oneWord, { minLength: 500, maxLength: 900 }) },
  ),
  toolId: fc.constantFrom(...TOOLS),
  tags: fc.subarray(TAGS),
});

describeOnMongodb("a search on MongoDB", () => {
  const stores: Record<"sqlite" | "mongodb", DocumentStore>[] = [];
  const closers: (() => Promise<unknown>)[] = [];

  beforeAll(async () => {
    const database = ownMongodb();
    const files = await openSqliteTwice({ entities, migrationsFolder }, (opened) =>
      createSqlDocumentStore({ database: opened, logger }),
    );
    const mongodb = await createMongodbDocumentStore({ mongodb: await database.open(), logger });
    const [sqlite, unused] = files.opened;
    closers.push(() => Promise.all([sqlite.close(), unused.close(), mongodb.close()]), files.close, database.close);
    stores.push({ sqlite, mongodb });
    for (const { title, words, toolId, tags } of fc.sample(document, { numRuns: 60, seed: 11 })) {
      const at = Date.now();
      const given = {
        id: newId(),
        contentType: "text/plain",
        metadata: null,
        uploadedById: null,
        createdAt: at,
        updatedAt: at,
      };
      const made = { ...given, title: title.join(" "), toolId, tags };
      for (const store of [sqlite, mongodb])
        await store.insert(made, { content: words.join(" "), encoding: "TEXT" }, null);
    }
  });
  afterAll(async () => {
    for (const close of closers) await close();
  });

  const term = fc
    .record({
      words: fc.oneof(
        { weight: 3, arbitrary: oneWord.map((word) => [word]) },
        { weight: 1, arbitrary: fc.array(oneWord, { minLength: 2, maxLength: 3 }) },
      ),
      cut: fc.option(fc.nat({ max: 6 })),
      excluded: fc.nat({ max: 4 }),
    })
    .map(({ words, cut, excluded }) => {
      const text = words.join(" ");
      const begun = cut === null ? text : text.slice(0, Math.max(1, text.length - cut));
      return `${excluded === 0 ? "-" : ""}${words.length === 1 ? begun : `"${begun}"`}${cut === null ? "" : "*"}`;
    });

  const filters = fc.record<SearchFilter>({
    toolIds: fc.option(fc.subarray(["tool-1", "tool-2"])),
    tag: fc.option(fc.constantFrom(...TAGS)),
  });
  const ranges = fc.record({ limit: fc.constantFrom(1, 5, 100), offset: fc.constantFrom(0, 0, 3) });

  /** Compares what both answer to many searches. `read` says of a store's hits what must be the same. */
  async function compare(range: fc.Arbitrary<{ limit: number; offset: number }>, read: (hits: Hit[]) => unknown) {
    const [{ sqlite, mongodb } = { sqlite: null, mongodb: null }] = stores;
    if (!sqlite || !mongodb) throw new Error("There are no stores.");
    let found = 0;
    const searches = fc.tuple(fc.array(term, { minLength: 1, maxLength: 4 }), filters, range);
    await fc.assert(
      fc.asyncProperty(searches, async ([terms, filter, part]) => {
        const query = parseSearchQuery(terms.join(" "));
        const answer = async (store: DocumentIndex) => {
          const { rows, totalCount } = store.search(query, filter, part, null);
          const [hits, count] = await Promise.all([rows(), totalCount()]);
          found += count;
          return { hits: read(hits), count };
        };
        expect(await answer(mongodb), terms.join(" ")).toEqual(await answer(sqlite));
      }),
      { numRuns: 60 },
    );
    expect(found).toBeGreaterThan(60);
  }

  test(
    "answers what one on SQLite does, by words, phrases, prefixes, exclusions and filters: documents, order, ranks, snippets and number",
    () => compare(ranges, (hits) => hits.map((hit) => ({ ...hit, score: Number(hit.score.toPrecision(9)) }))),
    120_000,
  );

  test("finds the same after changes and deletions, too", async () => {
    const [{ sqlite, mongodb } = { sqlite: null, mongodb: null }] = stores;
    if (!sqlite || !mongodb) throw new Error("There are no stores.");
    const ids = await sqlite.page({ toolId: null, tag: null }, { limit: 100, afterId: null, offset: 0 }).rows();
    for (const store of [sqlite, mongodb]) {
      await store.update(ids[3]?.id ?? "", { title: "storms again" }, null, null);
      await store.update(ids[5]?.id ?? "", {}, { content: "generate storms", encoding: "TEXT" }, null);
      await store.update(ids[6]?.id ?? "", { tags: ["red"], toolId: "tool-2" }, null, null);
      await store.delete(ids[8]?.id ?? "", null);
    }
    // SQLite goes on counting what was deleted when it ranks: see docs/mongodb.md.
    await compare(fc.constant({ limit: 100, offset: 0 }), (hits) =>
      hits
        .map(({ documentId, snippet }) => ({ documentId, snippet }))
        .toSorted((one, other) => (one.documentId < other.documentId ? -1 : 1)),
    );
  });
});
