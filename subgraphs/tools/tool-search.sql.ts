import { setImmediate as turn } from "node:timers/promises";
import type { Page, Rows } from "@toolyard/service-kit";
import type { Database, SqlTransaction } from "@toolyard/storage";
import type { EntityManager } from "typeorm";
import { toolTextEntity } from "./database.ts";
import { MAX_TAG_LENGTH } from "@toolyard/service-kit/text-input.ts";
import type { Tool, ToolFilter } from "./tool-store.ts";

/**
 * Texts of tools, and their trigram index: one full-text table for deleted tools and one for all others. https://sqlite.org/fts5.html#the_trigram_tokenizer
 */
export interface ToolSearch {
  /** Each writes in the transaction that changes the tool. */
  insert(tx: SqlTransaction, tool: SearchedTool): Promise<void>;
  update(tx: SqlTransaction, tool: SearchedTool): Promise<void>;
  setDeleted(tx: SqlTransaction, toolId: string, deleted: boolean): Promise<void>;
  /** Ids of tools that have all words and the tag, the newest registered first. Yields to the event loop after each bounded step. */
  page(filter: ToolFilter, page: Page): Rows<string>;
}

type SearchedTool = Pick<Tool, "id" | "slug" | "name" | "description" | "tags">;

/** The shortest word that the index finds, in characters of any script. */
const HAS_TRIGRAM = /.{3}/su;
/**
 * The most that one statement reads, so that it holds the event loop for some milliseconds only: texts that it searches, each of up to ten
 * thousand characters; tools whose tags it looks up; entries of the index.
 */
const MAX_TEXTS = 1_000;
const MAX_TAGGED = 5_000;
const MAX_ENTRIES = 500_000;

/** Pages of the index, of 4 KiB, that a write merges: as many as keep up with writes, in a few milliseconds. */
const MERGED_PAGES = 50;

const CURRENT = "tool_index";
const DELETED = "deleted_tool_index";
const indexOf = (deleted: boolean) => (deleted ? DELETED : CURRENT);

export function createToolSearch(database: Database): ToolSearch {
  const { read } = database;

  /** Each write leaves a segment, and does its share of merging them: https://sqlite.org/fts5.html#the_merge_command */
  async function merge(manager: EntityManager, table: string): Promise<void> {
    await manager.query(`INSERT INTO ${table} (${table}, rank) VALUES ('merge', CAST(? AS INTEGER))`, [MERGED_PAGES]);
  }

  async function index({ manager }: SqlTransaction, position: number, text: string, deleted: boolean): Promise<void> {
    const table = indexOf(deleted);
    await manager.query(`INSERT INTO ${table} (rowid, text) VALUES (?, ?)`, [position, text]);
    await merge(manager, table);
  }

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
      const { identifiers } = await tx.manager
        .getRepository(toolTextEntity)
        .insert({ toolId: tool.id, deleted: false, text });
      // The key that SQLite gave, as the entity has it.
      await index(tx, (identifiers[0] as { position: number }).position, text, false);
    },

    async update(tx, tool) {
      const texts = tx.manager.getRepository(toolTextEntity);
      const { position, deleted, text: before } = await texts.findOneByOrFail({ toolId: tool.id });
      const text = searchTextOf(tool);
      if (text === before) return;
      await texts.update({ position }, { text });
      await tx.manager.query(`DELETE FROM ${indexOf(deleted)} WHERE rowid = ?`, [position]);
      await index(tx, position, text, deleted);
    },

    async setDeleted(tx, toolId, deleted) {
      const texts = tx.manager.getRepository(toolTextEntity);
      const { position, text } = await texts.findOneByOrFail({ toolId });
      await texts.update({ position }, { deleted });
      await tx.manager.query(`DELETE FROM ${indexOf(!deleted)} WHERE rowid = ?`, [position]);
      await merge(tx.manager, indexOf(!deleted));
      await index(tx, position, text, deleted);
    },

    page(filter, page) {
      if (canHaveNone(filter)) return { rows: async () => [], totalCount: async () => 0 };
      const search = planSearch(filter);
      const count = async (span: Span) => {
        const [found] = await read.query<{ count: number }[]>(...search.countIn(span));
        return found?.count ?? 0;
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

/** Positions up to `newest`, after `before`. */
interface Span {
  newest: number;
  before: number;
}

interface SearchPlan {
  /** Positions that one statement may go through. */
  span: number;
  /** Answers the `toolId`s of the matches in a span, the newest first. */
  idsIn(span: Span, limit: number, offset: number): Statement;
  /** Answers the `count` of the matches in a span. */
  countIn(span: Span): Statement;
}

type Statement = [sql: string, parameters: unknown[]];

/** Whether no tool can match. */
function canHaveNone({ words, tag }: ToolFilter): boolean {
  return [...words, tag ?? ""].some((text) => text.includes("\0")) || (tag ?? "").length > MAX_TAG_LENGTH;
}

/** Long words are looked up in the index, in the order of positions; short ones are searched for in the texts that it found, or in all. */
function planSearch({ words, tag, includeDeleted }: ToolFilter): SearchPlan {
  const wanted = [...new Set(words.map(searchable))];
  const indexed = wanted.filter((word) => HAS_TRIGRAM.test(word));
  // FTS5 takes U+FFFE and U+FFFF for the replacement character.
  const scanned = wanted.filter((word) => !indexed.includes(word) || /[\ufffd-\uffff]/.test(word));
  // A tag is a line of its own: one of a description is found as well, and left out by the condition.
  if (tag !== null) indexed.push(`\n${searchable(tag)}\n`);
  const expression = indexed.map((word) => `"${word.replaceAll('"', '""')}"`).join(" AND ");
  const trigrams = indexed.join("").length;

  const conditions = scanned.map(() => "instr(texts.text, ?) > 0");
  const values: unknown[] = [...scanned];
  if (tag !== null) {
    conditions.push("EXISTS (SELECT 1 FROM tool_tags tagged WHERE tagged.toolId = texts.toolId AND tagged.tag = ?)");
    values.push(tag);
  }

  function select(what: string, { newest, before }: Span, isIndexed: boolean, table: string): Statement {
    const position = isIndexed ? `${table}.rowid` : "texts.position";
    const joins = isIndexed ? `CROSS JOIN tool_texts texts ON texts.position = ${position}` : "";
    const where = [
      ...(isIndexed ? [`${table} MATCH ?`] : includeDeleted ? [] : ["NOT texts.deleted"]),
      // libsql gives numbers as REAL, of which FTS5 takes no notice: it would go through the whole index.
      `${position} <= CAST(? AS INTEGER)`,
      `${position} > CAST(? AS INTEGER)`,
      ...conditions,
    ];
    const sql = `SELECT ${what.replaceAll("#", position)} FROM ${table} ${joins} WHERE ${where.join(" AND ")}`;
    return [sql, [...(isIndexed ? [expression] : []), newest, before, ...values]];
  }

  function union(what: string, span: Span): Statement {
    const parts =
      indexed.length === 0
        ? [select(what, span, false, "tool_texts texts")]
        : (includeDeleted ? [CURRENT, DELETED] : [CURRENT]).map((table) => select(what, span, true, table));
    return [parts.map(([sql]) => sql).join(" UNION ALL "), parts.flatMap(([, parameters]) => parameters)];
  }

  const looksInto = indexed.length === 0 || scanned.length > 0 ? MAX_TEXTS : tag !== null ? MAX_TAGGED : Infinity;
  return {
    span: Math.max(MAX_TEXTS, Math.min(looksInto, Math.floor(MAX_ENTRIES / trigrams))),
    idsIn(span, limit, offset) {
      const [sql, parameters] = union("texts.toolId AS toolId, # AS position", span);
      return [`${sql} ORDER BY position DESC LIMIT ? OFFSET ?`, [...parameters, limit, offset]];
    },
    countIn(span) {
      const [sql, parameters] = union("COUNT(*) AS count", span);
      return [`SELECT SUM(count) AS count FROM (${sql})`, parameters];
    },
  };
}

/** A line for each of the slug, the name, the description and the tags, as `searchable`. */
function searchTextOf({ slug, name, description, tags }: SearchedTool): string {
  return searchable([slug, name, description, ...tags, ""].join("\n"));
}

/**
 * Lower case of every script, compatibility forms as one. No letter has more than thirty marks (UAX #15, Stream-Safe Text Format):
 * sorting them takes time that grows with the square of their number.
 */
function searchable(text: string): string {
  return text
    .toWellFormed()
    .replaceAll(/(\p{M}{30})\p{M}+/gu, "$1")
    .normalize("NFKC")
    .toLowerCase();
}
