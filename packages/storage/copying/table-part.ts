import type { EntityManager } from "typeorm";
import type { Database } from "../database.ts";
import { dialectOf } from "../dialects.ts";
import { charactersOf, keyOf, readInOrder, type Row, type Table } from "../tables.ts";
import type { CopyMarks } from "./copy-marks.ts";
import type { Part, PartTarget } from "./part.ts";

const PAGE_ROWS = 1_000;
/** Parameters of a statement on SQLite (https://sqlite.org/limits.html#max_variable_number). */
const MAX_PARAMETERS = 32_766;
/** Of a statement; far below what servers take (max_allowed_packet), unless one row has more. */
const STATEMENT_CHARACTERS = 2_000_000;

/** A store's table. @param options.amend Changes rows as they are read, a page at a time */
export function tablePart(
  manager: Pick<EntityManager, "query">,
  store: string,
  table: Table,
  options: { amend?: (rows: Row[]) => Promise<Row[]>; pageRows?: number } = {},
): Part {
  const { amend = async (rows) => rows, pageRows = PAGE_ROWS } = options;
  const plain = (row: Row): Row => Object.fromEntries(table.columns.map(({ name }) => [name, row[name] ?? null]));
  return {
    name: `${store}.${table.name}`,
    async count() {
      const [found] = await manager.query<{ rows: number | string }[]>(
        `SELECT COUNT(*) AS "rows" FROM "${table.name}"`,
      );
      return Number(found?.rows ?? 0);
    },
    async *read(after) {
      for await (const rows of readInOrder(manager, table, { after, size: pageRows }))
        yield await amend(rows.map(plain));
    },
    keyOf: (row) => keyOf(table, row),
  };
}

/** A table to be filled. @param marks Where copies that go on later keep how far they came; null: this one begins and ends at once */
export function tableTarget(database: Database, store: string, table: Table, marks: CopyMarks | null): PartTarget {
  const part = tablePart(database.read, store, table);
  return {
    ...part,
    reached: async () => (marks ? marks.reached(part.name) : null),
    add: (rows) =>
      database.transaction(async ({ manager }) => {
        await insertRaw(manager, table, rows);
        const last = rows.at(-1);
        if (marks && last) await marks.reach(manager, part.name, keyOf(table, last));
      }),
  };
}

/** A table to be filled in which a row replaces one of the same key, as those that several copies add to. */
export function replacingTarget(database: Database, store: string, table: Table): PartTarget {
  const others = table.columns.map(({ name }) => name).filter((name) => !table.key.includes(name));
  return {
    ...tablePart(database.read, store, table),
    reached: async () => null,
    add: (rows) =>
      database.transaction(async ({ manager }) => {
        for (const row of rows)
          await insertRaw(manager, table, [row], dialectOf(manager).onDuplicate(table.key, others));
      }),
  };
}

/** Inserts rows as they are. */
export async function insertRaw(
  manager: Pick<EntityManager, "query">,
  { name, columns }: Table,
  rows: readonly Row[],
  end = "",
): Promise<void> {
  const names = columns.map((column) => `"${column.name}"`).join(", ");
  const values = `(${columns.map(() => "?").join(", ")})`;
  const mostRows = Math.floor(MAX_PARAMETERS / columns.length);
  for (let start = 0; start < rows.length;) {
    let [next, characters] = [start, 0];
    do characters += charactersOf(rows[next++]!);
    while (next < rows.length && next - start < mostRows && characters < STATEMENT_CHARACTERS);
    const some = rows.slice(start, next);
    await manager.query(
      `INSERT INTO "${name}" (${names}) VALUES ${some.map(() => values).join(", ")} ${end}`,
      some.flatMap((row) => columns.map((column) => row[column.name])),
    );
    start = next;
  }
}
