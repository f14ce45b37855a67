import { existsSync } from "node:fs";
import { link, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { newId, systemCodeOf } from "@toolyard/service-kit";
import LibsqlDatabase from "libsql";
import type { InstallationMark, InstallationMarks, StoreColumn } from "../installation-mark.ts";
import { isNoted, noteServer } from "../server-notes.ts";

const FILE = "installation-id";

/** In a file of DATA_DIR, beside the stores' own. */
export function openFileMarks(dataDir: string): InstallationMarks {
  const file = join(dataDir, FILE);

  async function read(): Promise<InstallationMark | null> {
    try {
      return { id: (await readFile(file, "utf8")).trim(), isPaired: isNoted(dataDir, "MONGODB_URL") };
    } catch (error) {
      if (systemCodeOf(error) === "ENOENT") return null;
      throw error;
    }
  }

  return {
    where: `${dataDir} (DATA_DIR)`,
    read,
    async begin() {
      const found = await read();
      if (found) return found;
      const id = newId();
      const draft = `${file}.${id}`;
      await mkdir(dataDir, { recursive: true, mode: 0o700 });
      await writeFile(draft, `${id}\n`, { mode: 0o600, flush: true });
      try {
        // Whole or not at all, and by the first alone.
        await link(draft, file);
      } catch (error) {
        if (systemCodeOf(error) !== "EEXIST") throw error;
      } finally {
        await rm(draft);
      }
      return (await read()) ?? { id, isPaired: false };
    },
    pair: () => noteServer(dataDir, "MONGODB_URL"),
    async some(of, which, limit) {
      const order = which === "HIGHEST" ? "DESC" : "ASC";
      return select(dataDir, of, `IS NOT NULL ORDER BY "${of.column}" ${order} LIMIT ${limit}`, []);
    },
    async hasAny(of, values) {
      const places = values.map(() => "?").join(", ");
      return select(dataDir, of, `IN (${places}) LIMIT 1`, values).length > 0;
    },
    [Symbol.asyncDispose]: async () => undefined,
  };
}

/** Also while others have the file open. None where there is no such column. */
function select(
  dataDir: string,
  { store, table, column }: StoreColumn,
  condition: string,
  values: readonly string[],
): string[] {
  const file = join(dataDir, `${store}.sqlite`);
  if (!existsSync(file)) return [];
  const database = new LibsqlDatabase(file, { readonly: true });
  try {
    const [found] = database.prepare("SELECT 1 FROM pragma_table_info(?) WHERE name = ?").all(table, column);
    if (found === undefined) return [];
    const statement = database.prepare(`SELECT "${column}" AS value FROM "${table}" WHERE "${column}" ${condition}`);
    // Columns of ids.
    return (statement.all(...values) as { value: string }[]).map(({ value }) => value);
  } finally {
    database.close();
  }
}
