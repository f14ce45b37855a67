import type { EntityManager, EntitySchema } from "typeorm";
import type { Sealed } from "./columns.ts";

/** A value as each database keeps it: flags are 0 and 1, JSON is text. */
type Cell = string | number | null;
export type Row = Readonly<Record<string, Cell>>;

/** An entity's table, for those who work on rows as they are, whatever they mean. */
export interface Table {
  name: string;
  columns: readonly TableColumn[];
  /** The columns of the primary key, in its order. */
  key: readonly string[];
}

interface TableColumn {
  name: string;
  isText: boolean;
  sealed: Sealed | null;
}

const TEXTS = new Set(["varchar", "text"]);

export function tablesOf(entities: readonly EntitySchema[]): Table[] {
  return entities.map(({ options }) => {
    const columns = Object.entries(options.columns).map(([name, column]) => ({
      name,
      isText: TEXTS.has(String(column?.type)),
      isKey: column?.primary === true,
      // `column` of this package adds it.
      sealed: (column as { sealed?: Sealed } | undefined)?.sealed ?? null,
    }));
    const key = columns.filter(({ isKey }) => isKey).map(({ name }) => name);
    return { name: options.tableName ?? options.name, columns, key };
  });
}

/** The place of a row among those of its table. */
export type RowKey = readonly Cell[];

export const keyOf = ({ key }: Pick<Table, "key">, row: Row): RowKey => key.map((name) => row[name] ?? null);

/** What a page of rows has, in characters, where rows are so large that fewer than asked for come near it. */
const PAGE_CHARACTERS = 4_000_000;
/** Of the first page, before anything is known of them. */
const FIRST_ROWS = 100;

export function charactersOf(row: Row): number {
  let sum = 0;
  for (const value of Object.values(row)) sum += typeof value === "string" ? value.length : 8;
  return sum;
}

/** A table's rows in the order of its key, at most so many at a time, fewer where the ones before were large, until none is left. */
export async function* readInOrder(
  manager: Pick<EntityManager, "query">,
  table: Table,
  options: { after?: RowKey | null; where?: string; size: number },
): AsyncGenerator<Row[]> {
  const { where } = options;
  let size = Math.min(options.size, FIRST_ROWS);
  const names = table.columns.map(({ name }) => `"${name}"`).join(", ");
  const order = table.key.map((name) => `"${name}"`).join(", ");
  for (let after = options.after ?? null; ;) {
    const beyond = after === null ? null : afterKey(table.key, after);
    const conditions = [...(where === undefined ? [] : [`(${where})`]), ...(beyond === null ? [] : [beyond.sql])];
    const rows = await manager.query<Row[]>(
      `SELECT ${names} FROM "${table.name}"${conditions.length === 0 ? "" : ` WHERE ${conditions.join(" AND ")}`} ORDER BY ${order} LIMIT ${size}`,
      beyond?.parameters ?? [],
    );
    const last = rows.at(-1);
    if (last === undefined) return;
    yield rows;
    const characters = rows.reduce((sum, row) => sum + charactersOf(row), 0);
    size = Math.max(1, Math.min(options.size, Math.floor((PAGE_CHARACTERS * rows.length) / characters)));
    after = keyOf(table, last);
  }
}

/** Rows after a key, in a form for which both databases use its index: MySQL does not for `(a, b) > (?, ?)`. */
function afterKey(names: readonly string[], key: RowKey): { sql: string; parameters: Cell[] } {
  const ways = names.map((name, at) => {
    const same = names.slice(0, at);
    return {
      sql: [...same.map((each) => `"${each}" = ?`), `"${name}" > ?`].join(" AND "),
      parameters: key.slice(0, at + 1),
    };
  });
  const sql = `"${names[0]}" >= ? AND (${ways.map((way) => way.sql).join(" OR ")})`;
  return { sql, parameters: [key[0] ?? null, ...ways.flatMap(({ parameters }) => parameters)] };
}
