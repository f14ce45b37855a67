import { setImmediate as turn } from "node:timers/promises";
import type { Resealer } from "@toolyard/service-kit/identity/resealing.ts";
import { parseJson } from "@toolyard/service-kit/json.ts";
import type { EntitySchema } from "typeorm";
import type { Sealed } from "./columns.ts";
import type { Database, SqlTransaction } from "./database.ts";
import { readInOrder, tablesOf, type Row, type Table } from "./tables.ts";

/** Rows that are written in one transaction. */
const STEP_ROWS = 100;
/** No id is longer. */
const MAX_ID = 64;

/** Of one store, or of several. */
export interface Resealed {
  /** Values that open with one of the keys, … */
  opened: number;
  /** … and of these, those that were sealed anew. */
  resealed: number;
  /** How many values open with none of the keys, by the column that has them, as in `deployments.launch`. */
  unopened: Map<string, number>;
}

/** Whether Toolyard itself put this value there. Anywhere else a text that looks sealed is a user's, who may write so. */
function isSealedAt(sealed: Sealed | null, text: string, value: string): boolean {
  if (sealed === "whole") return text === value;
  if (sealed === null) return false;
  const launch = parseJson(text);
  // One that a later version wrote, or that was damaged, may have secrets anywhere.
  if (launch === undefined) return true;
  return hasSecret(launch, value);
}

function hasSecret(part: unknown, value: string): boolean {
  if (typeof part !== "object" || part === null) return false;
  const fields = part as Record<string, unknown>;
  return (
    (fields["secret"] === true && fields["value"] === value) ||
    fields["secretUrl"] === value ||
    Object.values(part).some((inner) => hasSecret(inner, value))
  );
}

/**
 * Seals all that is sealed in a store with the current key, a few rows in each transaction: killed in between, it goes on where it was when it
 * is run again. A value's context is an id of its row, or made of one. Nobody else may write meanwhile.
 * @param say Told how far it is
 */
export async function reseal(
  database: Database,
  entities: readonly EntitySchema[],
  resealer: Resealer,
  options: { signal: AbortSignal; say: (line: string) => void },
): Promise<Resealed> {
  const found: Resealed = { opened: 0, resealed: 0, unopened: new Map() };
  for (const table of tablesOf(entities)) await resealTable(table);
  return found;

  async function resealTable(table: Table): Promise<void> {
    const texts = table.columns.filter(({ isText }) => isText);
    if (texts.length === 0) return;
    const where = texts.map(({ name }) => `"${name}" LIKE '%sealed:v1:%'`).join(" OR ");
    let seen = 0;
    for await (const rows of readInOrder(database.read, table, { where, size: STEP_ROWS })) {
      options.signal.throwIfAborted();
      // Counted once it is committed, since a transaction may run again.
      const counted = await database.transaction(async (tx) => {
        const counts: Resealed = { opened: 0, resealed: 0, unopened: new Map() };
        for (const row of rows) await resealRow(tx, table, row, counts);
        return counts;
      });
      add(found, counted);
      seen += rows.length;
      options.say(`${table.name}: ${seen} rows, ${found.resealed} values sealed anew so far.`);
      await turn(); // Signals are handled between two steps.
    }
  }

  async function resealRow({ manager }: SqlTransaction, table: Table, row: Row, counts: Resealed): Promise<void> {
    const ids = [
      ...new Set(Object.values(row).filter((value) => typeof value === "string" && value.length <= MAX_ID)),
    ] as string[]; // the filter leaves no others
    const changed: [name: string, text: string][] = [];
    for (const { name, sealed } of table.columns) {
      const value = row[name];
      if (typeof value !== "string") continue;
      const column = `${table.name}.${name}`;
      const text = resealValue({ resealer, found: counts, column, sealed, ids, value });
      if (text !== null) changed.push([name, text]);
    }
    if (changed.length === 0) return;
    await manager.query(
      `UPDATE "${table.name}" SET ${changed.map(([name]) => `"${name}" = ?`).join(", ")} WHERE ${table.key.map((name) => `"${name}" = ?`).join(" AND ")}`,
      [...changed.map(([, text]) => text), ...table.key.map((name) => row[name])],
    );
  }
}

/**
 * Seals one value anew, wherever it is kept, and counts it.
 * @param options.column As `tool_versions.launch`
 * @param options.sealed What Toolyard itself seals of the column
 * @param options.ids Those in which, or with whose column, it may have been sealed
 * @returns null where it stays as it is
 */
export function resealValue(options: {
  resealer: Resealer;
  found: Resealed;
  column: string;
  sealed: Sealed | null;
  ids: readonly string[];
  value: string;
}): string | null {
  const { resealer, found, column, sealed, ids, value } = options;
  const { text, opened, resealed, unopened } = resealer.reseal(value, [...ids, ...ids.map((id) => `${column}:${id}`)]);
  const lost = unopened.filter((each) => isSealedAt(sealed, value, each)).length;
  add(found, { opened, resealed, unopened: new Map(lost === 0 ? [] : [[column, lost]]) });
  return resealed === 0 ? null : text;
}

/** Adds one store's to the sum. */
export function add(sum: Resealed, { opened, resealed, unopened }: Resealed): void {
  sum.opened += opened;
  sum.resealed += resealed;
  for (const [column, count] of unopened) sum.unopened.set(column, (sum.unopened.get(column) ?? 0) + count);
}

/** How many values open with no key, and in which columns. */
export function unopenedIn({ unopened }: Resealed): { count: number; columns: string } {
  const count = [...unopened.values()].reduce((sum, each) => sum + each, 0);
  return { count, columns: [...unopened.keys()].join(", ") };
}
