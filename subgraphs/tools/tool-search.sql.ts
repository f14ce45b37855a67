import { setImmediate as turn } from "node:timers/promises";
import type { Page } from "@toolyard/service-kit";
import { sqlTransaction, type Database } from "@toolyard/storage";
import { MAX_TAG_LENGTH } from "@toolyard/service-kit/text-input.ts";
import { toolTextEntity } from "./database.ts";
import { searchable, searchTextOf, type ToolSearch } from "./tool-search.ts";
import type { ToolFilter } from "./tool-store.ts";
import { BLOCK_TEXTS, textBlocksOf } from "./text-blocks.sql.ts";
import { textIndexOf, type Span, type TextIndex } from "./text-index.sql.ts";

/** The shortest word that the index finds, in characters of any script. */
const HAS_TRIGRAM = /.{3}/su;
/**
 * The most that one statement reads, so that it holds the event loop for some milliseconds only: texts that it searches, each of up to ten
 * thousand characters; tools whose tags it looks up; entries of the index.
 */
const MAX_TEXTS = 1_000;
const MAX_TAGGED = 5_000;
const MAX_ENTRIES = 500_000;

/**
 * By trigrams where the database has an index of them, and by looking into the texts for all else, where they may be.
 * @param blockTexts Of how many texts it is known together where they may be
 */
export function createToolSearch(database: Database, blockTexts = BLOCK_TEXTS): ToolSearch {
  const { read } = database;
  const index = textIndexOf(read);
  const blocks = textBlocksOf(database, blockTexts);

  /** Where a page begins: the newest position that may be in it. */
  async function firstPosition(page: Page): Promise<number> {
    const texts = read.getRepository(toolTextEntity);
    if (page.afterId !== null) {
      const after = await texts
        .createQueryBuilder("text")
        .where("text.toolId >= :after", { after: page.afterId })
        .orderBy("text.toolId")
        .limit(1)
        .select("text.position", "position")
        .getRawOne<{ position: number }>();
      if (after) return after.position - 1;
    }
    return (await texts.maximum("position")) ?? 0;
  }

  /** Runs `step` over the spans of positions where a search may find something, the newest first, until it answers false. */
  async function inSpans({ span, wanted }: SearchPlan, from: number, step: (span: Span) => Promise<boolean>) {
    for (const each of (await blocks?.spans(wanted, from, span)) ?? spansOfAll(from, span)) {
      if (!(await step(each))) return;
      await turn();
    }
  }

  return {
    async insert(tx, tool) {
      const text = searchTextOf(tool);
      const { manager } = sqlTransaction(tx);
      const { identifiers } = await manager
        .getRepository(toolTextEntity)
        .insert({ toolId: tool.id, deleted: false, text, indexed: blocks !== null });
      // The key that the database gave, as the entity has it.
      const { position } = identifiers[0] as { position: number };
      await index?.add(manager, { position, text, deleted: false });
      await blocks?.add(manager, { position, text });
    },

    async update(tx, tool) {
      const { manager } = sqlTransaction(tx);
      const texts = manager.getRepository(toolTextEntity);
      const before = await texts.findOneByOrFail({ toolId: tool.id });
      const text = searchTextOf(tool);
      if (text === before.text) return;
      await texts.update({ position: before.position }, { text, indexed: blocks !== null });
      await index?.replace(manager, before, { ...before, text });
      await blocks?.add(manager, { ...before, text });
    },

    async setDeleted(tx, toolId, deleted) {
      const { manager } = sqlTransaction(tx);
      const texts = manager.getRepository(toolTextEntity);
      const before = await texts.findOneByOrFail({ toolId });
      await texts.update({ position: before.position }, { deleted });
      await index?.replace(manager, before, { ...before, deleted });
    },

    page(filter, page) {
      if (canHaveNone(filter)) return { rows: async () => [], totalCount: async () => 0 };
      const search = planSearch(filter, index);
      const count = async (span: Span) => {
        const parts = await read.query<{ matches: number }[]>(...search.countIn(span));
        return parts.reduce((sum, { matches }) => sum + matches, 0);
      };
      return {
        async rows() {
          const wanted = page.limit + 1;
          const found: string[] = [];
          let skip = page.offset;
          await inSpans(search, await firstPosition(page), async (span) => {
            const here = skip === 0 ? 0 : await count(span);
            if (here < skip) {
              skip -= here;
              return true;
            }
            const rows = await read.query<{ toolId: string }[]>(...search.idsIn(span, wanted - found.length, skip));
            skip = 0;
            found.push(...rows.map(({ toolId }) => toolId));
            return found.length < wanted;
          });
          return found;
        },
        async totalCount() {
          let sum = 0;
          await inSpans(search, await firstPosition({ ...page, afterId: null }), async (span) => {
            sum += await count(span);
            return true;
          });
          return sum;
        },
      };
    },

    complete: async (work) => (await blocks?.complete(work)) ?? 0,
  };
}

function* spansOfAll(from: number, size: number): Generator<Span> {
  for (let newest = from; newest > 0; newest -= size) yield { newest, before: newest - size };
}

interface SearchPlan {
  /** What texts must have. */
  wanted: readonly string[];
  /** Positions that one statement may go through. */
  span: number;
  /** Answers the `toolId`s of the matches in a span, the newest first. */
  idsIn(span: Span, limit: number, offset: number): Statement;
  /** Answers the `matches` in a span, as a sum of rows. */
  countIn(span: Span): Statement;
}

type Statement = [sql: string, parameters: unknown[]];

/** Whether no tool can match. */
function canHaveNone({ words, tag }: ToolFilter): boolean {
  return [...words, tag ?? ""].some((text) => text.includes("\0")) || (tag ?? "").length > MAX_TAG_LENGTH;
}

/** Long words are looked up in the index, in the order of positions; short ones are searched for in the texts that it found, or in all. */
function planSearch({ words, tag, includeDeleted }: ToolFilter, index: TextIndex | null): SearchPlan {
  const wanted = [...new Set(words.map(searchable))];
  const indexed = index ? wanted.filter((word) => HAS_TRIGRAM.test(word)) : [];
  const scanned = wanted.filter((word) => !indexed.includes(word) || index?.mayMistake(word));
  // A tag is a line of its own: one of a description is found as well, and left out by the condition.
  if (index && tag !== null) indexed.push(`\n${searchable(tag)}\n`);
  const trigrams = indexed.join("").length;

  const conditions = scanned.map(() => "instr(texts.text, ?) > 0");
  const values: unknown[] = [...scanned];
  if (tag !== null) {
    // Not EXISTS, for which MySQL would begin with all tools of the tag.
    conditions.push(
      "(SELECT COUNT(*) FROM tool_tags tagged WHERE tagged.toolId = texts.toolId AND tagged.tag = ?) > 0",
    );
    values.push(tag);
  }

  /** `#` is the position of a text. */
  function inTexts(what: string, { newest, before }: Span): Statement {
    const where = [
      ...(includeDeleted ? [] : ["NOT texts.deleted"]),
      "texts.position <= ?",
      "texts.position > ?",
      ...conditions,
    ];
    const sql = `SELECT ${what.replaceAll("#", "texts.position")} FROM tool_texts texts WHERE ${where.join(" AND ")}`;
    return [sql, [newest, before, ...values]];
  }

  function union(what: string, span: Span): Statement {
    if (!index || indexed.length === 0) return inTexts(what, span);
    const parts = (includeDeleted ? [false, true] : [false]).map((deleted): Statement => {
      const found = index.find(indexed, span, deleted);
      const sql = `SELECT ${what.replaceAll("#", found.position)} FROM ${found.from} CROSS JOIN tool_texts texts ON texts.position = ${found.position}
        WHERE ${[found.where, ...conditions].join(" AND ")}`;
      return [sql, [...found.parameters, ...values]];
    });
    return [parts.map(([sql]) => sql).join(" UNION ALL "), parts.flatMap(([, parameters]) => parameters)];
  }

  const looksInto = indexed.length === 0 || scanned.length > 0 ? MAX_TEXTS : tag !== null ? MAX_TAGGED : Infinity;
  return {
    wanted: tag === null ? wanted : [...wanted, searchable(tag)],
    span: Math.max(MAX_TEXTS, Math.min(looksInto, Math.floor(MAX_ENTRIES / trigrams))),
    idsIn(span, limit, offset) {
      const [sql, parameters] = union("texts.toolId AS toolId, # AS position", span);
      return [`${sql} ORDER BY position DESC LIMIT ? OFFSET ?`, [...parameters, limit, offset]];
    },
    countIn: (span) => union("COUNT(*) AS matches", span),
  };
}
