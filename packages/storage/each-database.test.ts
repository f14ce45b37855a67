import { onEachDatabase } from "@toolyard/testing/sql-stores.ts";
import { ODD_JSON, ODD_TEXTS } from "@toolyard/testing/port-contract.ts";
import { EntitySchema } from "typeorm";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { deleteInChunks } from "./chunks.ts";
import { column } from "./columns.ts";
import type { Database, SqlTransaction } from "./database.ts";
import { dialectOf } from "./dialects.ts";
import { databaseFailureOf } from "./failures.ts";
import { CHUNK_ROWS } from "./parts.ts";
import { insertIfAbsent, insertRows, updateColumn } from "./writes.ts";

interface Item {
  id: string;
  owner: string;
  count: number;
  ratio: number | null;
  isOpen: boolean;
  data: unknown;
  text: string | null;
}

const itemEntity = new EntitySchema<Item>({
  name: "items",
  columns: {
    id: { ...column.primaryId },
    owner: { ...column.name },
    count: { ...column.time },
    ratio: { ...column.nullableReal },
    isOpen: { ...column.flag },
    data: { ...column.nullableJson },
    text: { ...column.nullableText },
  },
  indices: [{ columns: ["owner"] }],
});
const entities = [itemEntity] as EntitySchema[]; // an EntitySchema of something is one of anything to those who only make tables of it
const item = (id: string, more: Partial<Item> = {}): Item => ({
  id,
  owner: "nobody",
  count: 0,
  ratio: null,
  isOpen: false,
  data: null,
  text: null,
  ...more,
});

// What stores build on, whichever database it is.
onEachDatabase((name, open) => {
  describe(`a database of ${name}`, () => {
    let databases: readonly [Database, Database];
    let database: Database;
    let close: () => Promise<void>;
    beforeAll(async () => {
      ({ databases, close } = await open({ entities }, () => null));
      [database] = databases;
    });
    afterAll(() => close());
    beforeEach(() => database.transaction(({ manager }) => manager.clear(itemEntity)));

    const items = () => database.read.getRepository(itemEntity);
    const insert = (...rows: Item[]) => database.transaction(({ manager }) => insertRows(manager, itemEntity, rows));
    /** So many transactions at once, of both processes in turn. */
    const atOnce = <Result>(count: number, work: (tx: SqlTransaction, index: number) => Promise<Result>) =>
      Promise.all(
        Array.from({ length: count }, (_, index) =>
          databases[index % 2 === 0 ? 0 : 1].transaction((tx) => work(tx, index)),
        ),
      );

    test("a row that is read for update stays as it was read until the transaction ends", async () => {
      await insert(item("a"));
      await atOnce(20, async ({ manager }) => {
        const rows = manager.getRepository(itemEntity);
        const { count } = await rows.findOneOrFail({ where: { id: "a" }, ...dialectOf(manager).forUpdate });
        await rows.update({ id: "a" }, { count: count + 1 });
      });
      expect((await items().findOneByOrFail({ id: "a" })).count).toBe(20);
    });

    test("of those who insert what must be unique at once, one does, and the transactions of the others go on", async () => {
      const inserted = await atOnce(10, async ({ manager }, index) => {
        const isFirst = await insertIfAbsent(manager, itemEntity, item("one", { owner: `of ${index}` }));
        await insertIfAbsent(manager, itemEntity, item(`after-${index}`));
        return isFirst;
      });
      expect(inserted.filter((isFirst) => isFirst)).toHaveLength(1);
      expect(await items().countBy({ owner: "nobody" })).toBe(10);
      expect((await items().findOneByOrFail({ id: "one" })).owner).toBe(`of ${inserted.indexOf(true)}`);
    });

    test("what is counted and added to under a lock does not pass its limit", async () => {
      await atOnce(20, async ({ manager }, index) => {
        await dialectOf(manager).lock(manager, "items");
        if ((await manager.countBy(itemEntity, { owner: "limited" })) < 5)
          await manager.insert(itemEntity, item(`limited-${index}`, { owner: "limited" }) as object);
      });
      expect(await items().countBy({ owner: "limited" })).toBe(5);
    });

    test("a read sees what is committed, and nothing of a transaction that runs or was rolled back", async () => {
      await insert(item("a"));
      const failing = database.transaction(async ({ manager }) => {
        await manager.update(itemEntity, { id: "a" }, { count: 1 });
        for (const each of databases) expect((await each.read.findOneByOrFail(itemEntity, { id: "a" })).count).toBe(0);
        throw new Error("on purpose");
      });
      await expect(failing).rejects.toThrow("on purpose");
      for (const each of databases) expect((await each.read.findOneByOrFail(itemEntity, { id: "a" })).count).toBe(0);
    });

    if (name === "MySQL")
      test("transactions that deadlock both happen, one of them again; what waits for a commit runs once", async () => {
        await insert(item("a"), item("b"));
        const begun = [Promise.withResolvers<void>(), Promise.withResolvers<void>()] as const;
        const runs = [0, 0];
        let committed = 0;
        const order = [
          ["a", "b"],
          ["b", "a"],
        ] as const;
        await atOnce(2, async ({ manager, afterCommit }, index) => {
          runs[index] = (runs[index] ?? 0) + 1;
          afterCommit(() => (committed += 1));
          const [first, second] = order[index] ?? order[0];
          await manager.increment(itemEntity, { id: first }, "count", 1);
          begun[index === 0 ? 0 : 1].resolve();
          await begun[index === 0 ? 1 : 0].promise;
          await manager.increment(itemEntity, { id: second }, "count", 1);
        });
        expect((await items().find()).map(({ count }) => count)).toEqual([2, 2]);
        expect(runs.toSorted((one, other) => one - other)).toEqual([1, 2]);
        expect(committed).toBe(2);
      });

    if (name === "MySQL")
      test("connections that the server ended are made anew; a transaction in whose midst one is lost is run again, at its commit it is not", async () => {
        await insert(item("a"));
        const killOthers = async () => {
          const [own] = await databases[1].read.query<{ id: number }[]>("SELECT CONNECTION_ID() AS id");
          const all = await databases[1].read.query<{ id: number }[]>(
            "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> ?",
            [own?.id],
          );
          for (const { id } of all) await databases[1].read.query(`KILL ${id}`).catch(() => {});
        };
        const countNow = async () => (await items().findOneByOrFail({ id: "a" })).count;
        let runs = 0;
        await database.transaction(async ({ manager }) => {
          await manager.increment(itemEntity, { id: "a" }, "count", 1);
          runs += 1;
          if (runs === 1) await killOthers();
          await manager.increment(itemEntity, { id: "a" }, "count", 1);
        });
        expect([runs, await countNow()]).toEqual([2, 2]);

        const lost = database.transaction(async ({ manager }) => {
          runs += 1;
          await manager.increment(itemEntity, { id: "a" }, "count", 1);
          await killOthers();
        });
        await expect(lost).rejects.toMatchObject({
          code: "UPSTREAM_UNAVAILABLE",
          message: expect.stringContaining("not known") as unknown,
        });
        await expect(lost).rejects.toSatisfy((error) => databaseFailureOf(error) === "lost-connection");
        expect([runs, await countNow()]).toEqual([3, 2]);
        await database.transaction(({ manager }) => manager.increment(itemEntity, { id: "a" }, "count", 5));
        expect(await countNow()).toBe(7);
      });

    test("texts that look alike are told apart, as ids and as values", async () => {
      await insert(...ODD_TEXTS.map((text) => item(text, { owner: text })));
      for (const text of ODD_TEXTS) {
        expect((await items().findBy({ owner: text })).map(({ id }) => id)).toEqual([text]);
        expect((await items().findOneBy({ id: text }))?.owner).toBe(text);
      }
      const again = await atOnce(ODD_TEXTS.length, ({ manager }, index) =>
        insertIfAbsent(manager, itemEntity, item(ODD_TEXTS[index] ?? "")),
      );
      expect(again).not.toContain(true);
    });

    test("long texts, odd JSON and large numbers come back as they were, written one by one or many at once", async () => {
      const launch = "\u6f22".repeat(256 * 1024);
      const document = "x".repeat(5 * 1024 * 1024);
      const rows = [
        item("launch", { text: launch, count: 253_402_300_799_999, ratio: 0.1, isOpen: true }),
        item("document", { text: document, data: ODD_JSON, ratio: 1e-7 }),
        item("nothing"),
      ];
      await insert(...rows);
      await database.transaction(({ manager }) => insertIfAbsent(manager, itemEntity, { ...rows[1]!, id: "single" }));
      const read = async (id: string) => items().findOneByOrFail({ id });
      for (const row of rows) expect(await read(row.id)).toEqual(row);
      expect(JSON.stringify((await read("document")).data)).toBe(JSON.stringify(ODD_JSON));
      expect(await read("single")).toEqual({ ...rows[1], id: "single" });
    });

    // SQLite's columns have no limits; inputs do.
    if (name === "MySQL")
      test("a text longer than its column is refused, not cut", async () => {
        const tooLong = database.transaction(({ manager }) =>
          insertIfAbsent(manager, itemEntity, item("x", { owner: "y".repeat(256) })),
        );
        await expect(tooLong).rejects.toSatisfy((error) => databaseFailureOf(error) === null);
      });

    test("many rows are inserted and replaced by one statement, and a column is set, or only raised", async () => {
      await insert(item("a", { count: 1 }), item("b", { count: 5 }));
      await database.transaction(async ({ manager }) => {
        await insertRows(manager, itemEntity, [item("a", { count: 7 }), item("c", { count: 3 })], { replace: true });
        await updateColumn(
          manager,
          itemEntity,
          "count",
          new Map([
            ["b", 2],
            ["c", 9],
            ["none", 1],
          ]),
          { onlyHigher: true },
        );
        await updateColumn(manager, itemEntity, "ratio", new Map([["a", 4]]));
      });
      const found = await items().find({ order: { id: "ASC" } });
      expect(found.map(({ id, count, ratio }) => [id, count, ratio])).toEqual([
        ["a", 7, 4],
        ["b", 5, null],
        ["c", 9, null],
      ]);
      await expect(insert(item("a"))).rejects.toSatisfy((error) => databaseFailureOf(error) === "unique-violation");
    });

    test("rows are deleted in chunks, and read in parts, those that match and no other", async () => {
      const many = Array.from({ length: CHUNK_ROWS + 3 }, (_, index) => item(`many-${index}`, { owner: "many" }));
      await insert(...many, item("other"));
      const read: string[] = [];
      const where = { table: "items", where: "owner = ?", parameters: ["many"] };
      for await (const part of dialectOf(database.read).readInParts(database.read, where)) {
        expect(part.length).toBeLessThanOrEqual(CHUNK_ROWS);
        read.push(...part.map(({ id }) => id as string));
      }
      expect(read.toSorted()).toEqual(many.map(({ id }) => id).toSorted());
      expect(await deleteInChunks(database, itemEntity, { owner: "many" })).toBe(many.length);
      expect((await items().find()).map(({ id }) => id)).toEqual(["other"]);
    });
  });
});
