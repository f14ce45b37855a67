import { dialectOf } from "@toolyard/storage";
import type { EntityManager } from "typeorm";
import type { ToolTextRow } from "./database.ts";

type IndexedText = Pick<ToolTextRow, "position" | "text" | "deleted">;

/** Positions up to `newest`, after `before`. */
export interface Span {
  newest: number;
  before: number;
}

/** An index of the trigrams of texts, beside `tool_texts` in the same database. */
export interface TextIndex {
  /** In the manager's transaction, as each write. */
  add(manager: EntityManager, text: IndexedText): Promise<void>;
  replace(manager: EntityManager, before: IndexedText, text: IndexedText): Promise<void>;
  /** Whether it may find texts that do not have the word. */
  mayMistake(word: string): boolean;
  /** SQL for the texts of a span that have all words, each of three characters or more, among deleted tools' or all others'. */
  find(
    words: readonly string[],
    span: Span,
    deleted: boolean,
  ): { from: string; where: string; parameters: unknown[]; position: string };
}

/** The one that a database has; null: texts are looked into. */
export function textIndexOf(manager: EntityManager): TextIndex | null {
  return dialectOf(manager).name === "sqlite" ? fts5Index : null;
}

/** Pages of the index, of 4 KiB, that a write merges: as many as keep up with writes, in a few milliseconds. */
const MERGED_PAGES = 50;

/** One full-text table for deleted tools and one for all others. https://sqlite.org/fts5.html#the_trigram_tokenizer */
const tableOf = ({ deleted }: Pick<IndexedText, "deleted">) => (deleted ? "deleted_tool_index" : "tool_index");

/** Each write leaves a segment, and does its share of merging them: https://sqlite.org/fts5.html#the_merge_command */
async function merge(manager: EntityManager, table: string): Promise<void> {
  await manager.query(`INSERT INTO ${table} (${table}, rank) VALUES ('merge', CAST(? AS INTEGER))`, [MERGED_PAGES]);
}

async function add(manager: EntityManager, text: IndexedText): Promise<void> {
  await manager.query(`INSERT INTO ${tableOf(text)} (rowid, text) VALUES (?, ?)`, [text.position, text.text]);
  await merge(manager, tableOf(text));
}

const fts5Index: TextIndex = {
  add,
  async replace(manager, before, text) {
    await manager.query(`DELETE FROM ${tableOf(before)} WHERE rowid = ?`, [before.position]);
    if (before.deleted !== text.deleted) await merge(manager, tableOf(before));
    await add(manager, text);
  },
  // FTS5 takes U+FFFE and U+FFFF for the replacement character.
  mayMistake: (word) => /[\ufffd-\uffff]/.test(word),
  find(words, { newest, before }, deleted) {
    const table = tableOf({ deleted });
    const expression = words.map((word) => `"${word.replaceAll('"', '""')}"`).join(" AND ");
    // libsql gives numbers as REAL, of which FTS5 takes no notice: it would go through the whole index.
    const where = `${table} MATCH ? AND ${table}.rowid <= CAST(? AS INTEGER) AND ${table}.rowid > CAST(? AS INTEGER)`;
    return { from: table, where, parameters: [expression, newest, before], position: `${table}.rowid` };
  },
};
