import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInProcessBus } from "@toolyard/events";
import type { MongodbConnection } from "@toolyard/mongodb";
import { createLogger, newId } from "@toolyard/service-kit";
import { openStore, type StorePlace, type StoreTables } from "@toolyard/storage";
import { openInstallationMarks } from "@toolyard/storage/installation-mark.ts";
import { createScratchDatabase } from "@toolyard/storage/mysql/scratch-database.ts";
import { createStores } from "@toolyard/subgraph-host";
import * as identity from "@toolyard/subgraph-identity/database.ts";
import * as tools from "@toolyard/subgraph-tools/database.ts";
import * as tasks from "@toolyard/tasks/database.ts";
import { describeOnMongodb, ownMongodb } from "@toolyard/testing/mongodb.ts";
import { noMysql } from "@toolyard/testing/sql-stores.ts";
import { describe, expect, onTestFinished, test } from "vitest";
import { beginBelonging } from "../../scripts/copying/belonging.ts";
import { readStores } from "../../scripts/store-schemas.ts";

const logger = createLogger({ level: "silent", name: "test" });

async function onFiles(): Promise<StorePlace> {
  const dataDir = await mkdtemp(join(tmpdir(), "toolyard-mark-"));
  onTestFinished(() => rm(dataDir, { recursive: true, force: true }));
  return { dataDir, logger };
}

async function onMysql(): Promise<StorePlace> {
  const { url, drop } = await createScratchDatabase(process.env["TEST_MYSQL_URL"] ?? "");
  onTestFinished(drop);
  return { ...(await onFiles()), database: { url, ca: null, poolSize: 2 } };
}

function mongodbOf() {
  const database = ownMongodb();
  onTestFinished(() => database.close());
  return database;
}

/** A process that opens both, or has no MongoDB. */
function start(place: StorePlace, url: string | null) {
  const mongodb = url === null ? null : { url, ca: null };
  const stores = createStores({ ...place, logger, mongodb, bus: createInProcessBus() });
  onTestFinished(() => stores.close());
  return stores;
}

/** What a process says that does not start. */
const refusal = (text: RegExp) => ({ name: "ConfigError", message: expect.stringMatching(text) });

async function withRow(
  place: StorePlace,
  { name, table, ...store }: StoreTables & { table: string },
  row: Record<string, unknown>,
): Promise<void> {
  const database = await openStore(place, { name, ...store });
  try {
    await database.transaction(async ({ manager }) => void (await manager.getRepository(table).insert(row)));
  } finally {
    await database.close();
  }
}

/** Rows that name contents, by their stores, and the contents' collections. */
const NAMING = {
  tool_versions: (place: StorePlace, contentId: string) => {
    const row = { id: newId(), toolId: newId(), number: 1, contentId, digest: "d", source: "MANUAL", createdAt: 1 };
    return withRow(place, { name: "tools", ...tools, table: "tool_versions" }, row);
  },
  task_results: (place: StorePlace, resultId: string) => {
    const counts = { progress: 1, attempts: 1, maxAttempts: 1, cancelRequested: false, createdAt: 1, dueAt: 1 };
    const row = { id: newId(), kind: "VALIDATION", status: "SUCCEEDED", resultId, ...counts };
    return withRow(place, { name: "tasks", ...tasks, table: "tasks" }, row);
  },
};
const naming = Object.entries(NAMING);

/** Rows that documents name. */
const withUser = (place: StorePlace, id: string) =>
  withRow(
    place,
    { name: "identity", ...identity, table: "users" },
    { id, username: id, usernameKey: id, role: "ADMIN", disabled: false, passwordHash: "-", createdAt: 1 },
  );

async function put(mongodb: MongodbConnection, collection: string, id: string, more: object = {}): Promise<void> {
  await mongodb.connection.collection<{ _id: string }>(collection).insertOne({ _id: id, ...more });
}

const marksIn = (mongodb: MongodbConnection) => mongodb.connection.collection("toolyard_installation").find().toArray();

async function idOf(place: StorePlace): Promise<string | undefined> {
  await using marks = await openInstallationMarks(place);
  return (await marks.read())?.id;
}

const PLACES = [["files in DATA_DIR", onFiles, null] as const, ["MySQL", onMysql, noMysql] as const];

/** As commands know an installation. */
const installationOf = async ({ dataDir, database = null }: StorePlace, url: string) => ({
  dataDir,
  database,
  mongodb: { url, ca: null },
  stores: await readStores(join(import.meta.dirname, "../..")),
});

describeOnMongodb("an installation and its MongoDB", () => {
  test.skipIf(noMysql !== null)(
    "keep their mark where the rows move to MySQL, and take no other database's MongoDB along",
    async () => {
      const [files, server, database] = [await onFiles(), await onMysql(), mongodbOf()];
      const to = await installationOf({ ...server, dataDir: files.dataDir }, database.url);
      const from = { ...to, database: null };
      await withUser(files, newId());
      const stores = start(files, database.url);
      await stores.mongodb();
      await stores.noteMongodb();
      // One that was begun there, and came to nothing.
      await expect(start(server, database.url).mongodb()).rejects.toMatchObject(refusal(/another installation/));
      await beginBelonging(from, to);
      await start(server, database.url).mongodb();
      expect(await idOf(server)).toBe(await idOf(files));
      await expect(beginBelonging(from, { ...to, mongodb: { url: mongodbOf().url, ca: null } })).rejects.toMatchObject(
        refusal(/is empty, and .* says/),
      );
      const used = await onMysql();
      const other = start(used, mongodbOf().url);
      await other.mongodb();
      await other.noteMongodb();
      await expect(beginBelonging(from, { ...to, database: used.database ?? null })).rejects.toMatchObject(
        refusal(/another installation/),
      );
    },
  );

  describe.each(PLACES)("with rows in %s", (_name, openPlace, missing) => {
    describe.skipIf(missing !== null)(missing ?? "on a server", () => {
      test("are given one mark by all processes that start on a new pair at once, and are then opened again", async () => {
        const [place, database] = [await openPlace(), mongodbOf()];
        await Promise.all(Array.from({ length: 6 }, () => start(place, database.url).mongodb()));
        const [mark, ...others] = await marksIn(await database.open());
        expect(others).toEqual([]);
        expect(mark).toMatchObject({ id: await idOf(place) });
        const stores = start(place, database.url);
        await stores.mongodb();
        await stores.noteMongodb();
        await expect(start(place, database.url).mongodb()).resolves.not.toBeNull();
        expect(await marksIn(await database.open())).toEqual([mark]);
      });

      test("have one owner where two installations begin on an empty MongoDB at once", async () => {
        const [places, database] = [[await openPlace(), await openPlace()], mongodbOf()];
        const started = await Promise.allSettled(places.map((place) => start(place, database.url).mongodb()));
        expect(started.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
        const [reason] = started.flatMap((each) => (each.status === "rejected" ? [each.reason as unknown] : []));
        expect(reason).toMatchObject(refusal(/belongs to another installation/));
      });

      test("are refused without MONGODB_URL once contents are there, and not before", async () => {
        const [place, database] = [await openPlace(), mongodbOf()];
        const stores = start(place, database.url);
        await stores.mongodb();
        await expect(start(place, null).mongodb()).resolves.toBeNull();
        await stores.noteMongodb();
        await expect(start(place, null).mongodb()).rejects.toMatchObject(refusal(/^MONGODB_URL: it is not set/));
      });

      test("are refused where the MongoDB is another installation's, or was emptied; nothing is written to it", async () => {
        const [place, database, other] = [await openPlace(), mongodbOf(), mongodbOf()];
        const stores = start(place, database.url);
        await stores.mongodb();
        await stores.noteMongodb();
        await start(await openPlace(), other.url).mongodb();
        const before = await marksIn(await other.open());
        await expect(start(place, other.url).mongodb()).rejects.toMatchObject(
          refusal(/belongs to another installation/),
        );
        expect(await marksIn(await other.open())).toEqual(before);
        await (await database.open()).connection.dropDatabase();
        await expect(start(place, database.url).mongodb()).rejects.toMatchObject(refusal(/is empty, and .* says/));
        expect(await marksIn(await database.open())).toEqual([]);
        await expect(start(place, mongodbOf().url).mongodb()).rejects.toMatchObject(refusal(/is empty, and .* says/));
      });

      test.each(naming)("from before there were marks are told by the rows that name %s", async (collection, name) => {
        const [place, database, contentId] = [await openPlace(), mongodbOf(), newId()];
        await name(place, contentId);
        await expect(start(place, database.url).mongodb()).rejects.toMatchObject(
          refusal(/has none of the contents .*emptied/),
        );
        const mongodb = await database.open();
        await put(mongodb, collection, newId());
        await expect(start(place, database.url).mongodb()).rejects.toMatchObject(refusal(/has none of the contents/));
        expect(await marksIn(mongodb)).toEqual([]);
        await put(mongodb, collection, contentId);
        await start(place, database.url).mongodb();
        expect(await marksIn(mongodb)).toMatchObject([{ id: await idOf(place) }]);
        // A dump of then has no mark, and is theirs all the same.
        await start(place, database.url).noteMongodb();
        await mongodb.connection.collection("toolyard_installation").deleteMany({});
        await start(place, database.url).mongodb();
        expect(await marksIn(mongodb)).toHaveLength(1);
      });

      test("are apart from when the MongoDB is emptied under a running Toolyard: health says so, and no start takes what came since for all", async () => {
        const [place, database] = [await openPlace(), mongodbOf()];
        const stores = start(place, database.url);
        const mongodb = await stores.mongodb();
        await stores.noteMongodb();
        const [before, since] = [newId(), newId()];
        await NAMING.tool_versions(place, before);
        expect(await mongodb?.health()).toMatchObject({ status: "healthy" });
        await (await database.open()).connection.dropDatabase();
        await NAMING.tool_versions(place, since);
        await put(await database.open(), "tool_versions", since);
        expect(await mongodb?.health()).toMatchObject({
          status: "unhealthy",
          detail: expect.stringContaining("emptied"),
        });
        const names = refusal(new RegExp(`has none of the contents .*${before}`));
        await expect(start(place, database.url).mongodb()).rejects.toMatchObject(names);
      });

      test("from before there were marks are told by the rows that documents name; contents that no row knows are another's", async () => {
        const [place, database, userId] = [await openPlace(), mongodbOf(), newId()];
        const mongodb = await database.open();
        await put(mongodb, "knowledge_documents", newId(), { uploadedById: userId, toolId: null });
        await expect(start(place, database.url).mongodb()).rejects.toMatchObject(refusal(/contents of another/));
        await withUser(place, newId());
        await expect(start(place, database.url).mongodb()).rejects.toMatchObject(refusal(/contents of another/));
        expect(await marksIn(mongodb)).toEqual([]);
        await withUser(place, userId);
        await start(place, database.url).mongodb();
        expect(await marksIn(mongodb)).toHaveLength(1);
      });

      test.each([...naming.map(([collection]) => collection), "knowledge_documents"])(
        "are refused where rows are new and there are %s already",
        async (collection) => {
          const [place, database] = [await openPlace(), mongodbOf()];
          await put(await database.open(), collection, newId());
          await expect(start(place, database.url).mongodb()).rejects.toMatchObject(refusal(/contents of another/));
          expect(await marksIn(await database.open())).toEqual([]);
        },
      );
    });
  });
});
