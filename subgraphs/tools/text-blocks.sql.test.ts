import { newId } from "@toolyard/service-kit";
import type { Database } from "@toolyard/storage";
import { statementsOf } from "@toolyard/testing";
import { onEachDatabase } from "@toolyard/testing/sql-stores.ts";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { entities, migrationsFolder, toolGramEntity, toolTextEntity } from "./database.ts";
import { gramsOf } from "./text-blocks.sql.ts";
import { createToolSearch } from "./tool-search.sql.ts";
import type { ToolSearch } from "./tool-search.ts";

test("the runs of a word are among those of each text that has it", () => {
  const words = fc.string({ unit: fc.constantFrom("a", "b", "\u{1f680}", "\u00e4", " ", "\n"), maxLength: 8 });
  fc.assert(
    fc.property(words, words, words, (before, word, behind) => {
      const grams = new Set(gramsOf(before + word + behind, [2, 3]));
      expect(gramsOf(word, [2, 3]).filter((gram) => !grams.has(gram))).toEqual([]);
    }),
  );
});

const TEXTS = 60;

onEachDatabase((name, open) => {
  describe(`search over many texts on ${name}`, () => {
    let database: Database;
    let search: ToolSearch;
    let close: () => Promise<void>;
    const find = (...words: string[]) =>
      search.page({ words, tag: null, includeDeleted: true }, { limit: 5, afterId: null, offset: 0 }).rows();
    const textsRead = async (...words: string[]) => {
      const statements = await statementsOf(() => find(...words));
      return statements.filter(({ sql }) => sql.includes("instr(texts.text")).length;
    };

    beforeAll(async () => {
      const opened = await open({ entities, migrationsFolder }, (each) => createToolSearch(each, 4));
      [database] = opened.databases;
      [search] = opened.opened;
      close = opened.close;
      for (let n = 0; n < TEXTS; n += 1)
        await database.transaction((tx) =>
          search.insert(tx, {
            id: newId(),
            slug: `s${n}`,
            name: `n${n}`,
            description: `common ${n === 7 ? "xylophone" : "d"}`,
            tags: [],
          }),
        );
    });
    afterAll(() => close());

    test("texts that nobody noted are found, and are noted afterwards", async () => {
      const found = await find("xylophone");
      expect(found).toHaveLength(1);
      if (name === "SQLite") return;
      await database.transaction(async ({ manager }) => {
        await manager.getRepository(toolGramEntity).clear();
        await manager.getRepository(toolTextEntity).update({ deleted: false }, { indexed: false });
      });
      expect(await find("xylophone")).toEqual(found);
      expect(await search.complete()).toBe(TEXTS);
      expect(await search.complete()).toBe(0);
      expect(await find("xylophone")).toEqual(found);
    });

    test("only texts of blocks that may have the words are read", async () => {
      expect(await find("xylophones")).toEqual([]);
      if (name === "SQLite") return;
      expect(await textsRead("xylophones")).toBe(0);
      expect(await textsRead("xylophone")).toBe(1);
      expect(await textsRead("xylophone", "common")).toBe(1);
    });
  });
});
