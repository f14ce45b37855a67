import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createEventLog, createInProcessBus } from "@toolyard/events";
import { openDatabase, readMigrations } from "@toolyard/storage";
import LibsqlDatabase from "libsql";
import { expect, test } from "vitest";
import { entities, migrationsFolder, toolEventSchema } from "./database.ts";
import { createSqlToolStore } from "./tool-store.sql.ts";
import type { ToolEventPayload } from "./tool-store.ts";

test("tools that an earlier version stored are listed and found as new ones are, and change, go and come back", async () => {
  const folder = await mkdtemp(join(tmpdir(), "toolyard-tools-"));
  try {
    const file = join(folder, "tools.sqlite");
    const migrations = readMigrations(migrationsFolder);
    await (await openDatabase({ file, entities, migrations: migrations.slice(0, 1) })).close();
    const earlier = new LibsqlDatabase(file);
    const insert = earlier.prepare(
      `INSERT INTO tools (id, slug, name, description, tags, searchText, currentVersionId, currentNumber, createdAt, updatedAt, deletedAt)
       VALUES (?, ?, 'Old', 'Straße', '["Tag"]', ?, ?, 1, 1, 1, ?)`,
    );
    // Not in the order of their ids.
    for (const [id, deletedAt] of [
      ["c", null],
      ["a", null],
      ["b", 5],
    ] as const) {
      insert.run(id, `old-${id}`, `old-${id}\nold\nstraße\ntag`, `v-${id}`, deletedAt);
      earlier.prepare("INSERT INTO tool_tags (toolId, tag) VALUES (?, 'Tag')").run(id);
    }
    earlier.close();

    const database = await openDatabase({ file, entities, migrations });
    const bus = createInProcessBus();
    const events = createEventLog<ToolEventPayload>({ database, schema: toolEventSchema, bus });
    const store = createSqlToolStore({ database, events });
    const find = async (words: string[], tag: string | null, includeDeleted = false) => {
      const rows = await store.page({ words, tag, includeDeleted }, { limit: 10, offset: 0, afterId: null }).rows();
      return rows.map(({ id }) => id);
    };
    try {
      for (const words of [[], ["old"], ["STRAßE"], ["ß"], ["old-", "tag"]]) {
        for (const tag of [null, "Tag"]) {
          expect(await find(words, tag), `${words.join(" ")} ${tag}`).toEqual(["c", "a"]);
          expect(await find(words, tag, true)).toEqual(["c", "b", "a"]);
        }
        expect(await find(words, "tag")).toEqual([]);
      }
      expect(await store.setDeleted("b", false, 6)).toBe(true);
      expect(await store.setDeleted("c", true, 6)).toBe(true);
      for (const words of [[], ["old"], ["ß"]]) expect(await find(words, "Tag")).toEqual(["b", "a"]);
    } finally {
      await database.close();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
