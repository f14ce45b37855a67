import { charactersOf, type Row, type RowKey } from "../tables.ts";
import type { Part, PartTarget } from "./part.ts";

/** Where some columns of a table's rows are kept, apart from these; a row names its own by `reference`. */
export interface Apart {
  reference: string;
  columns: readonly string[];
  /** The column with its time, in epoch milliseconds; kept there, and in the row, which keeps all where it has none. */
  at: string;
  /** Rows of `id`, `at` and the columns, in place of those that are there. */
  put(rows: readonly Row[]): Promise<void>;
  read(ids: readonly string[]): Promise<Map<string, Row>>;
}

/** What a document of MongoDB takes, whatever the characters: a row with more keeps it. */
const MOST_CHARACTERS = 4_000_000;

/** A part of which rows name as theirs, by their own ids, what they have themselves; and that as a part of its own, with as many rows. */
export function splitPart(part: Part, apart: Apart): { rows: Part; contents: { from: Part; to: PartTarget } } {
  const { reference, columns, at } = apart;
  const none = Object.fromEntries(columns.map((name) => [name, null]));
  const contentOf = (row: Row): Row => ({
    id: row["id"] ?? null,
    [at]: row[at] ?? null,
    ...Object.fromEntries(columns.map((name) => [name, row[name] ?? null])),
  });
  const isEmpty = (row: Row) => columns.every((name) => (row[name] ?? null) === null);
  const isMoved = (row: Row) =>
    row[reference] === null && row[at] !== null && !isEmpty(row) && charactersOf(contentOf(row)) <= MOST_CHARACTERS;

  async function* contents(after: RowKey | null): AsyncGenerator<Row[]> {
    for await (const rows of part.read(after))
      yield rows.map((row) => contentOf(isMoved(row) ? row : { ...row, ...none }));
  }
  const from: Part = { ...part, name: `${part.name} (${reference})`, read: contents };
  return {
    rows: {
      ...part,
      async *read(after) {
        for await (const rows of part.read(after))
          yield rows.map((row) => (isMoved(row) ? { ...row, ...none, [reference]: row["id"] ?? null } : row));
      },
    },
    contents: {
      from,
      to: {
        ...from,
        reached: async () => null,
        add: (rows) => apart.put(rows.filter((row) => !isEmpty(row))),
        async *read(after) {
          for await (const rows of contents(after)) {
            const ids = rows.filter((row) => !isEmpty(row)).map(({ id }) => String(id));
            const found = ids.length === 0 ? new Map<string, Row>() : await apart.read(ids);
            yield rows.map((row) => contentOf(isEmpty(row) ? row : (found.get(String(row["id"])) ?? { id: null })));
          }
        },
      },
    },
  };
}
