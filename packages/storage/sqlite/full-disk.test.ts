import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { describeOnFullDisk, withSmallDisk } from "@toolyard/testing/small-disk.ts";
import { EntitySchema } from "typeorm";
import { expect, test } from "vitest";
import { column } from "../columns.ts";
import { openDatabase } from "../open-database.ts";

const noteEntity = new EntitySchema<{ id: string; text: string }>({
  name: "notes",
  columns: { id: { ...column.primaryId }, text: { ...column.text } },
});
const migrations = [
  {
    name: "0001-initial",
    statements: ['CREATE TABLE "notes" ("id" varchar(64) PRIMARY KEY NOT NULL, "text" text NOT NULL)'],
  },
];
const NO_SPACE = {
  code: "CAPACITY_EXHAUSTED",
  message: expect.stringMatching(/no space left .* Make room/) as unknown,
};

describeOnFullDisk("SQLite on a full disk", () => {
  test("refuses transactions, each as a whole, and reads on; when there is room again it keeps all that it acknowledges", () =>
    withSmallDisk(2, async (disk) => {
      mkdirSync(disk.folder);
      const file = join(disk.folder, "test.sqlite");
      const open = () => openDatabase({ file, entities: [noteEntity] as EntitySchema[], migrations });
      let database = await open();
      const insert = (...notes: { id: string; text: string }[]) =>
        database.transaction(async ({ manager }) => {
          for (const note of notes) await manager.insert(noteEntity, note);
        });
      const idsNow = async () => (await database.read.find(noteEntity, { order: { id: "ASC" } })).map(({ id }) => id);
      const large = "x".repeat(300_000);

      await insert({ id: "before", text: "x" });
      disk.fill();
      // By one that is found out at the commit, and by one in whose midst SQLite rolls back by itself.
      await expect(insert({ id: "small", text: "x" })).rejects.toMatchObject(NO_SPACE);
      await expect(insert({ id: "first", text: "x" }, { id: "large", text: large })).rejects.toMatchObject(NO_SPACE);
      await expect(insert({ id: "again", text: large })).rejects.toMatchObject(NO_SPACE);
      expect(await idsNow()).toEqual(["before"]);
      await database.ping();
      expect(await database.whyFailing()).toMatch(/no space left/i);

      disk.free();
      expect(await database.whyFailing()).toBeNull();
      await insert({ id: "later", text: large });
      await insert({ id: "latest", text: "x" });
      expect(await idsNow()).toEqual(["before", "later", "latest"]);
      await database.close();
      database = await open();
      expect(await idsNow()).toEqual(["before", "later", "latest"]);
      await database.close();
    }));
});
