import type { EntityManager } from "typeorm";
import type { Database } from "../database.ts";
import { COPY_TABLE } from "../mysql/unfinished-copy.ts";
import type { RowKey } from "../tables.ts";

/** What a server's database knows of a copy into it. */
export interface CopyMarks {
  /** What is copied there, by a name of its own, and since when it is all there (epoch ms); null: no copy was ever begun. */
  state(): Promise<{ source: string; doneAt: number | null } | null>;
  begin(source: string): Promise<void>;
  reached(part: string): Promise<RowKey | null>;
  /** In the transaction of the rows. */
  reach(manager: EntityManager, part: string, key: RowKey): Promise<void>;
  /** Lets processes start on it. */
  end(doneAt: number): Promise<void>;
}

export async function createCopyMarks(database: Database): Promise<CopyMarks> {
  const { read } = database;
  await read.query(
    `CREATE TABLE IF NOT EXISTS ${COPY_TABLE} ("name" VARCHAR(255) PRIMARY KEY, "value" LONGTEXT NOT NULL)`,
  );
  const find = async (name: string): Promise<unknown> => {
    const [found] = await read.query<{ value: string }[]>(`SELECT "value" FROM ${COPY_TABLE} WHERE "name" = ?`, [name]);
    return found === undefined ? null : JSON.parse(found.value);
  };
  const keep = (manager: Pick<EntityManager, "query">, name: string, value: unknown) =>
    manager.query(`REPLACE INTO ${COPY_TABLE} ("name", "value") VALUES (?, ?)`, [name, JSON.stringify(value)]);
  return {
    async state() {
      const source = await find("source");
      // Only `end` writes the other.
      return typeof source === "string" ? { source, doneAt: (await find("done")) as number | null } : null;
    },
    begin: async (source) => void (await keep(read, "source", source)),
    // Only `reach` writes it.
    reached: async (part) => (await find(`at ${part}`)) as RowKey | null,
    reach: async (manager, part, key) => void (await keep(manager, `at ${part}`, key)),
    end: async (doneAt) => void (await keep(read, "done", doneAt)),
  };
}
