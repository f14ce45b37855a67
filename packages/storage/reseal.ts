import { setImmediate as turn } from "node:timers/promises";
import type { Resealer } from "@toolyard/service-kit/identity/resealing.ts";
import { parseJson } from "@toolyard/service-kit/json.ts";
import LibsqlDatabase from "libsql";

/** Rows that are written in one transaction. */
const STEP_ROWS = 100;
/** No id is longer. */
const MAX_ID = 64;

/** Of one file, or of several. */
export interface Resealed {
  /** Values that open with one of the keys, … */
  opened: number;
  /** … and of these, those that were sealed anew. */
  resealed: number;
  /** How many values open with none of the keys, by the column that has them, as in `deployments.launch`. */
  unopened: Map<string, number>;
}

/** Columns whose whole text is sealed. */
const SEALED_COLUMNS = new Set([
  "deployments.sealedConfiguration",
  "replicas.sealedToken",
  "idempotency_keys.fingerprint",
  "idempotency_keys.answer",
]);
/** Columns of a launch as JSON, whose secret variables and URL are sealed. */
const LAUNCH_COLUMNS = new Set(["tool_versions.launch", "deployments.launch"]);

/** Whether Toolyard itself put this value there. Anywhere else a text that looks sealed is a user's, who may write so. */
function isSealedAt(column: string, text: string, value: string): boolean {
  if (SEALED_COLUMNS.has(column)) return text === value;
  if (!LAUNCH_COLUMNS.has(column)) return false;
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
 * Seals all that is sealed in a database with the current key, a few rows in each transaction: killed in between, it goes on where it was when it
 * is run again. A value's context is an id of its row, or made of one. Nobody else may write meanwhile.
 * @param say Told how far it is
 */
async function resealDatabase(
  file: string,
  resealer: Resealer,
  options: { signal: AbortSignal; say: (line: string) => void },
): Promise<Resealed> {
  const database = new LibsqlDatabase(file);
  const found: Resealed = { opened: 0, resealed: 0, unopened: new Map() };
  try {
    database.pragma("synchronous = FULL");
    const tables = database
      .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'")
      .all() as { name: string }[];
    for (const { name } of tables) await resealTable(name);
    return found;
  } finally {
    database.close();
  }

  async function resealTable(table: string): Promise<void> {
    const columns = (database.prepare(`PRAGMA table_info("${table}")`).all() as { name: string; type: string }[])
      .filter(({ type }) => /^(text|varchar)/i.test(type))
      .map(({ name }) => name);
    if (columns.length === 0) return;
    const isSealed = columns.map((column) => `"${column}" LIKE '%sealed:v1:%'`).join(" OR ");
    const step = database.prepare(
      `SELECT rowid AS "rowid:", ${columns.map((column) => `"${column}"`).join(", ")} FROM "${table}" ` +
        `WHERE rowid > ? AND (${isSealed}) ORDER BY rowid LIMIT ${STEP_ROWS}`,
    );
    let last = -1;
    let seen = 0;
    for (;;) {
      options.signal.throwIfAborted();
      const rows = step.all(last) as ({ "rowid:": number } & Record<string, string | null>)[];
      if (rows.length === 0) return;
      database.exec("BEGIN IMMEDIATE");
      try {
        for (const row of rows) resealRow(table, columns, row);
        database.exec("COMMIT");
      } catch (error) {
        database.exec("ROLLBACK");
        throw error;
      }
      last = rows.at(-1)?.["rowid:"] ?? last;
      seen += rows.length;
      options.say(`${table}: ${seen} rows, ${found.resealed} values sealed anew so far.`);
      await turn(); // Signals are handled between two steps.
    }
  }

  function resealRow(
    table: string,
    columns: readonly string[],
    row: { "rowid:": number } & Record<string, string | number | null>,
  ): void {
    const texts = columns.map((column) => row[column]).filter((value) => typeof value === "string");
    const ids = [...new Set(texts.filter(({ length }) => length <= MAX_ID))];
    for (const column of columns) {
      const value = row[column];
      if (typeof value !== "string") continue;
      const { text, opened, resealed, unopened } = resealer.reseal(value, [
        ...ids,
        ...ids.map((id) => `${table}.${column}:${id}`),
      ]);
      const name = `${table}.${column}`;
      const sealed = unopened.filter((each) => isSealedAt(name, value, each)).length;
      if (sealed > 0) found.unopened.set(name, (found.unopened.get(name) ?? 0) + sealed);
      found.opened += opened;
      if (resealed === 0) continue;
      database.prepare(`UPDATE "${table}" SET "${column}" = ? WHERE rowid = ?`).run(text, row["rowid:"]);
      found.resealed += resealed;
    }
  }
}

/** How many values open with no key, and in which columns. */
export function unopenedIn({ unopened }: Resealed): { count: number; columns: string } {
  const count = [...unopened.values()].reduce((sum, each) => sum + each, 0);
  return { count, columns: [...unopened.keys()].join(", ") };
}

/** The same for several files. */
export async function resealAll(
  files: readonly string[],
  resealer: Resealer,
  options: { signal: AbortSignal; say: (line: string) => void },
): Promise<Resealed> {
  const all: Resealed = { opened: 0, resealed: 0, unopened: new Map() };
  for (const file of files) {
    const { opened, resealed, unopened } = await resealDatabase(file, resealer, options);
    all.opened += opened;
    all.resealed += resealed;
    for (const [column, count] of unopened) all.unopened.set(column, count);
  }
  return all;
}
