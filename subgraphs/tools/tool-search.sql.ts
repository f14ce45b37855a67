import { setImmediate as turn } from "node:timers/promises";
import type { Page } from "@toolyard/service-kit";
import { sqlTransaction, type Database } from "@toolyard/storage";
import { MAX_TAG_LENGTH } from "@toolyard/service-kit/text-input.ts";
import { toolTextEntity } from "./database.ts";
import { searchable, searchTextOf, type ToolSearch } from "./tool-search.ts";
import type { ToolFilter } from "./tool-store.ts";
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

/** By trigrams where the database has an index of them, and by looking into the texts for all else. */
export function createToolSearch(database: Database): ToolSearch {
  const { read } = database;
  const index = textIndexOf(read);

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

  /** Runs `step` over spans of positions, the newest first, until it answers false. */
  async function inSpans(from: number, size: number, step: (span: Span) => Promise<boolean>): Promise<void> {
    for (let newest = from; newest > 0; newest -= size) {
      if (!(await step({ newest, before: newest - size }))) return;
      await turn();
    }
  }

  return {
    async insert(tx, tool) {
      const text = searchTextOf(tool);
      const { manager } = sqlTransaction(tx);
      const { identifiers } = await manager
        .getRepository(toolTextEntity)
        .insert({ toolId: tool.id, deleted: false, text });
      // The key that the database gave, as the entity has it.
      await index?.add(manager, { position: (identifiers[0] as { position: number }).position, text, deleted: false });
    },

    async update(tx, tool) {
      const { manager } = sqlTransaction(tx);
      const texts = manager.getRepository(toolTextEntity);
      const before = await texts.findOneByOrFail({ toolId: tool.id });
      const text = searchTextOf(tool);
      if (text === before.text) return;
      await texts.update({ position: before.position }, { text });
      await index?.replace(manager, before, { ...before, text });
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
          await inSpans(await firstPosition(page), search.span, async (span) => {
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
          await inSpans(await firstPosition({ ...page, afterId: null }), search.span, async (span) => {
            sum += await count(span);
            return true;
          });
          return sum;
        },
      };
    },
  };
}

interface SearchPlan {
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
    conditions.push("EXISTS (SELECT 1 FROM tool_tags tagged WHERE tagged.toolId = texts.toolId AND tagged.tag = ?)");
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
    span: Math.max(MAX_TEXTS, Math.min(looksInto, Math.floor(MAX_ENTRIES / trigrams))),
    idsIn(span, limit, offset) {
      const [sql, parameters] = union("texts.toolId AS toolId, # AS position", span);
      return [`${sql} ORDER BY position DESC LIMIT ? OFFSET ?`, [...parameters, limit, offset]];
    },
    countIn: (span) => union("COUNT(*) AS matches", span),
  };
}
