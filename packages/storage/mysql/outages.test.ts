import { createLogger } from "@toolyard/service-kit";
import { eventually } from "@toolyard/testing/eventually.ts";
import { describeOnMysql } from "@toolyard/testing/sql-stores.ts";
import { withWayTo, type WayToServer } from "@toolyard/testing/way-to-server.ts";
import { createConnection } from "mysql2/promise";
import { EntitySchema, type EntityManager } from "typeorm";
import { expect, test } from "vitest";
import { column } from "../columns.ts";
import type { Database } from "../database.ts";
import { openDatabase } from "../open-database.ts";
import { LOCK_TABLE } from "./mysql-dialect.ts";
import { createScratchDatabase } from "./scratch-database.ts";

const noteEntity = new EntitySchema<{ id: string }>({ name: "notes", columns: { id: { ...column.primaryId } } });
const migrations = [{ name: "0001-initial", statements: ["CREATE TABLE notes (id VARCHAR(64) PRIMARY KEY NOT NULL)"] }];
const AWAY = {
  code: "UPSTREAM_UNAVAILABLE",
  message: expect.stringContaining("Nothing was changed") as unknown,
  extensions: { retryAfterSeconds: 2 },
};

describeOnMysql("A store", (serverUrl) => {
  /** @param run gets what was logged, too */
  async function withStore(
    run: (database: Database, way: WayToServer, logged: () => string[]) => Promise<void>,
    options: { queryMs?: number; idleTransactionSeconds?: number } = {},
  ): Promise<void> {
    const scratch = await createScratchDatabase(serverUrl);
    const { hostname, port } = new URL(serverUrl);
    const lines: string[] = [];
    const logger = createLogger({
      level: "info",
      name: "test",
      destination: { write: (line) => void lines.push(line) },
    });
    try {
      await withWayTo({ host: hostname, port: Number(port || 3306) }, async (way) => {
        const url = Object.assign(new URL(scratch.url), { host: way.host }).href;
        const entities = [noteEntity] as EntitySchema[];
        const database = await openDatabase({ url, name: "test", entities, migrations, logger, ...options });
        await run(database, way, () => lines);
        await database.close();
      });
    } finally {
      await scratch.drop();
    }
  }
  const insert = (database: Database, id: string) =>
    database.transaction(({ manager }) => manager.insert(noteEntity, { id }));
  const idsIn = async (database: Database) =>
    (await database.read.find(noteEntity, { order: { id: "ASC" } })).map(({ id }) => id);

  test("gives up a transaction whose process hangs in it, so that others have its rows", () =>
    withStore(
      async (database) => {
        await insert(database, "held");
        const [holds, goesOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
        const remove = (manager: EntityManager) => manager.delete(noteEntity, { id: "held" });
        const hanging = database.transaction(async ({ manager }) => {
          await remove(manager);
          holds.resolve();
          await goesOn.promise;
          await manager.insert(noteEntity, { id: "late" });
        });
        await holds.promise;
        await database.transaction(({ manager }) => remove(manager));
        expect(await idsIn(database)).toEqual([]);
        goesOn.resolve();
        // Its connection is lost, and it is run again.
        await hanging;
        expect(await idsIn(database)).toEqual(["late"]);
      },
      { idleTransactionSeconds: 1 },
    ));

  test("whose server goes away says so to callers, in its health and once in the log, and goes on when it is back", () =>
    withStore(async (database, way, logged) => {
      await insert(database, "before");
      await way.close();
      for (let times = 0; times < 3; times += 1) {
        await expect(insert(database, "meanwhile")).rejects.toMatchObject(AWAY);
        await expect(idsIn(database)).rejects.toMatchObject(AWAY);
      }
      await expect(database.ping()).rejects.toThrow(/ECONNREFUSED.*DATABASE_URL/);
      expect(await database.whyFailing()).toMatch(/cannot be reached/);
      expect(logged()).toEqual([expect.stringContaining("cannot be reached")]);

      await way.open();
      expect(await database.whyFailing()).toBeNull();
      await insert(database, "later");
      expect(await idsIn(database)).toEqual(["before", "later"]);
      expect(logged().slice(1)).toEqual([expect.stringContaining("again")]);
    }));

  test("to which the server gives no more connections is ill until it gives one, whatever those that it has can do", () =>
    withStore(async (database, way) => {
      await insert(database, "before");
      await database.ping();
      way.refuse();
      // On the connection that there is, and on more.
      const reads = Array.from({ length: 6 }, () => database.read.query("SELECT SLEEP(0.2)"));
      const failed = (await Promise.allSettled(reads)).filter(({ status }) => status === "rejected");
      expect(failed[0]).toMatchObject({ reason: { code: "UPSTREAM_UNAVAILABLE" } });
      await insert(database, "meanwhile");
      await database.ping();
      expect(await database.whyFailing()).toMatch(/cannot be reached/);
      await way.open();
      expect(await database.whyFailing()).toBeNull();
    }));

  test("whose server takes no changes for a while is ill as soon as one has waited, and well when it goes on", () =>
    withStore(async (database) => {
      const connection = await createConnection(serverUrl);
      try {
        const [{ name }] = await database.read.query<[{ name: string }]>("SELECT DATABASE() AS name");
        // As FLUSH TABLES WITH READ LOCK has it for a whole server, which other tests use.
        await connection.query(
          `LOCK TABLES ${["notes", LOCK_TABLE].map((table) => `${name}.${table} READ`).join(", ")}`,
        );
        const waiting = insert(database, "late");
        await expect.poll(() => database.whyFailing(), { timeout: 30_000 }).toMatch(/cannot be reached/);
        await database.ping();
        await connection.query("UNLOCK TABLES");
        await waiting;
        expect(await database.whyFailing()).toBeNull();
      } finally {
        await connection.end();
      }
    }));

  test("whose server hangs gives its connections up, and goes on when it answers again", () =>
    withStore(
      async (database, way) => {
        await insert(database, "before");
        way.pause();
        await Promise.all(
          Array.from({ length: 20 }, () =>
            expect(idsIn(database)).rejects.toMatchObject({ code: "UPSTREAM_UNAVAILABLE" }),
          ),
        );
        await expect(insert(database, "meanwhile")).rejects.toMatchObject({ code: "UPSTREAM_UNAVAILABLE" });
        way.resume();
        await eventually("an answer", () => idsIn(database));
        await insert(database, "later");
        expect(await idsIn(database)).toEqual(["before", "later"]);
      },
      { queryMs: 300 },
    ));

  test("loses nothing that it acknowledged while connections break in the midst of transactions", () =>
    withStore(async (database, way) => {
      const acknowledged: string[] = [];
      let isOver = false;
      const writers = Array.from({ length: 8 }, async (_, writer) => {
        for (let count = 0; !isOver; count += 1) {
          const id = `${writer}-${String(count).padStart(6, "0")}`;
          // An id that was refused may be there, where its commit's answer was lost.
          await insert(database, id).then(
            () => acknowledged.push(id),
            () => undefined,
          );
        }
      });
      for (let round = 0; round < 10; round += 1) {
        const before = acknowledged.length;
        await eventually("more", () => acknowledged.length >= before + 10);
        await way.close();
        await way.open();
      }
      isOver = true;
      await Promise.all(writers);
      const found = new Set(await idsIn(database));
      expect(acknowledged.filter((id) => !found.has(id))).toEqual([]);
      expect(new Set(acknowledged).size).toBe(acknowledged.length);
    }));
});
