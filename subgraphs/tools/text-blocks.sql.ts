import { dialectOf, inChunks, type Database, type LongWork } from "@toolyard/storage";
import { In, type EntityManager } from "typeorm";
import { toolTextEntity, type ToolTextRow } from "./database.ts";
import type { Span } from "./text-index.sql.ts";

/** Neighbours of one block: a block of them is read in about a millisecond. */
export const BLOCK_TEXTS = 250;
/** Of a search, grams that are looked up: each has as many rows as there are blocks with it. */
const MAX_GRAMS = 16;

/**
 * For databases that have no index of trigrams: which pairs and triples of characters are in the texts of each block of positions. It says
 * where a text may be, and the texts decide: what is in a block stays noted when its texts change.
 */
export interface TextBlocks {
  /** In the manager's transaction. */
  add(manager: EntityManager, text: Pick<ToolTextRow, "position" | "text">): Promise<void>;
  /** Spans up to `newest`, the newest first and each of `most` positions at most, of blocks that may have texts with all words; null: all may. */
  spans(words: readonly string[], newest: number, most: number): Promise<Span[] | null>;
  /** Adds texts that are not in it yet, as those that another database had; answers how many. */
  complete(work?: LongWork): Promise<number>;
}

/** Null where the database has an index of trigrams. */
export function textBlocksOf(database: Database, size: number): TextBlocks | null {
  const { read } = database;
  const dialect = dialectOf(read);
  if (dialect.name === "sqlite") return null;
  const given = dialect.rows("?", "k", ["integer"]);
  const blockOf = (position: number) => Math.floor(position / size);

  /** Notes what texts of one block have. */
  async function note(manager: EntityManager, block: number, texts: readonly string[]): Promise<void> {
    // In one order, so that two transactions do not wait for each other; most are there, and are not to be waited for.
    const grams = [...new Set(texts.flatMap((text) => gramsOf(text, [2, 3])))].toSorted((a, b) => a - b);
    await manager.query(
      `INSERT INTO tool_grams (gram, block) SELECT ${given.at(0)}, ? FROM ${given.from}
       WHERE NOT EXISTS (SELECT 1 FROM tool_grams known WHERE known.gram = ${given.at(0)} AND known.block = ?)
       ${dialect.onDuplicate(["gram", "block"], ["block"])}`,
      [block, JSON.stringify(grams.map((gram) => [gram])), block],
    );
  }

  return {
    add: (manager, { position, text }) => note(manager, blockOf(position), [text]),
    async spans(words, newest, most) {
      const grams = [...new Set(words.flatMap((word) => gramsOf(word, [3]).concat(gramsOf(word, [2], 2))))];
      if (grams.length === 0) return null;
      const some = grams.filter((_, index) => index % Math.ceil(grams.length / MAX_GRAMS) === 0);
      const found = await read.query<{ block: number | string }[]>(
        `SELECT known.block AS block FROM ${given.from} STRAIGHT_JOIN tool_grams known ON known.gram = ${given.at(0)} AND known.block <= ?
         GROUP BY known.block HAVING COUNT(*) = ?
         UNION SELECT texts.position DIV ? AS block FROM tool_texts texts WHERE texts.indexed = 0 AND texts.position <= ?`,
        [JSON.stringify(some.map((gram) => [gram])), blockOf(newest), some.length, size, newest],
      );
      const spans: Span[] = [];
      for (const block of found.map((each) => Number(each.block)).toSorted((a, b) => b - a)) {
        const last = spans.at(-1);
        const span = { newest: Math.min(newest, (block + 1) * size - 1), before: block * size - 1 };
        if (last?.before === span.newest && last.newest - span.before <= most) last.before = span.before;
        else spans.push(span);
      }
      return spans;
    },
    complete: (work) =>
      inChunks(
        database,
        async ({ manager }, limit) => {
          const texts = manager.getRepository(toolTextEntity);
          const missing = await texts.find({
            where: { indexed: false },
            order: { position: "DESC" },
            take: limit,
            ...dialectOf(manager).forUpdate,
          });
          for (const [block, ofBlock] of Map.groupBy(missing, ({ position }) => blockOf(position)))
            await note(
              manager,
              block,
              ofBlock.map(({ text }) => text),
            );
          if (missing.length > 0)
            await texts.update({ position: In(missing.map(({ position }) => position)) }, { indexed: true });
          return missing.length;
        },
        work,
      ),
  };
}

/**
 * Runs of so many characters without blanks, as 32-bit numbers (FNV-1a of their code points): two that have the same make a block be looked
 * into for nothing. They are stored: another hash would need a migration. `most`: only of words of so many characters.
 */
export function gramsOf(text: string, lengths: readonly number[], most = Infinity): number[] {
  const grams = new Set<number>();
  for (const word of text.split(/\s+/u)) {
    const characters = Array.from(word, (character) => character.codePointAt(0) ?? 0);
    if (characters.length > most) continue;
    for (const length of lengths)
      for (let start = 0; start + length <= characters.length; start += 1) {
        let hash = 0x811c9dc5;
        for (let place = start; place < start + length; place += 1)
          hash = Math.imul(hash ^ (characters[place] ?? 0), 0x01000193);
        grams.add(hash >>> 0);
      }
  }
  return [...grams];
}
