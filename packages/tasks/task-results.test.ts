import { createInProcessBus } from "@toolyard/events";
import { ToolyardError, newId } from "@toolyard/service-kit";
import { openDatabase, readMigrations } from "@toolyard/storage";
import { describeOnMongodb, ownMongodb } from "@toolyard/testing/mongodb.ts";
import { expect, onTestFinished, test, vi } from "vitest";
import { entities, migrationsFolder } from "./database.ts";
import { largestResult } from "./fixtures/largest-result.ts";
import { createMongodbTaskResults } from "./task-results.mongodb.ts";
import { resultProblem, type TaskResults } from "./task-results.ts";
import { createSqlTaskStore } from "./task-store.sql.ts";
import type { Lease } from "./task-store.ts";

const DAY_MS = 86_400_000;

async function openStores(results: TaskResults) {
  const database = await openDatabase({ file: ":memory:", entities, migrations: readMigrations(migrationsFolder) });
  onTestFinished(() => database.close());
  const clock = { now: 1_800_000_000_000 };
  const logger = { error: vi.fn() };
  const options = { database, bus: createInProcessBus(), logger, now: () => clock.now };
  const store = createSqlTaskStore({ ...options, results });
  async function begin(): Promise<Lease> {
    await store.insert({ kind: "VALIDATION", input: null, requestedById: null });
    const [claimed] = await store.claim(new Map([["VALIDATION", 1]]), 1_000);
    if (!claimed) throw new Error("There was nothing to claim.");
    return claimed.lease;
  }
  return { store, begin, clock, logger, withoutResults: createSqlTaskStore(options) };
}

test("a result is there before its task has succeeded: a run whose result cannot be written goes on", async () => {
  const kept = new Map<string, unknown>();
  let isAway = true;
  const { store, begin } = await openStores({
    async write({ id, value }) {
      if (isAway) throw new ToolyardError("UPSTREAM_UNAVAILABLE", "It is away.");
      const [task] = await store.list({}, { limit: 1, afterId: null, offset: 0 }).rows();
      expect(task?.status).toBe("RUNNING");
      kept.set(id, value);
    },
    read: async (ids) => new Map([...kept].filter(([id]) => ids.includes(id))),
    trim: async () => 0,
  });
  const lease = await begin();
  await expect(store.succeed(lease, { found: 1 })).rejects.toMatchObject({ code: "UPSTREAM_UNAVAILABLE" });
  expect(await store.getMany([lease.taskId])).toMatchObject([{ status: "RUNNING" }]);
  isAway = false;
  expect(await store.succeed(lease, { found: 1 })).toBe(true);
  expect(await store.resultsOf([lease.taskId])).toEqual([{ found: 1 }]);
});

test("the largest result is the largest", () => {
  expect(resultProblem(largestResult)).toBe(null);
  expect(resultProblem(`${largestResult}x`)).toMatchObject({ code: "PAYLOAD_TOO_LARGE" });
});

describeOnMongodb("results of tasks in MongoDB", () => {
  async function open() {
    const mongodb = ownMongodb();
    onTestFinished(() => mongodb.close());
    const connection = await mongodb.open();
    const results = await createMongodbTaskResults(connection);
    const count = () => connection.connection.collection("task_results").countDocuments();
    return { ...(await openStores(results)), results, count };
  }

  test("are not in the rows, and are asked for by who has MONGODB_URL", async () => {
    const { store, begin, withoutResults, count } = await open();
    const lease = await begin();
    await store.succeed(lease, { found: 1 });
    expect(await count()).toBe(1);
    await expect(withoutResults.resultsOf([lease.taskId])).rejects.toMatchObject({
      code: "UPSTREAM_UNAVAILABLE",
      message: expect.stringContaining("MONGODB_URL"),
    });
    // A task is shown all the same.
    expect(await withoutResults.getMany([lease.taskId])).toMatchObject([{ status: "SUCCEEDED" }]);
  });

  test("may be of the largest size", async () => {
    const { store, begin } = await open();
    const lease = await begin();
    await store.succeed(lease, largestResult);
    expect(await store.resultsOf([lease.taskId])).toEqual([largestResult]);
  });

  test("that were in rows before stay there, and are shown", async () => {
    const { store, begin, withoutResults, count } = await open();
    const lease = await begin();
    await withoutResults.succeed(lease, ["earlier"]);
    expect(await store.resultsOf([lease.taskId])).toEqual([["earlier"]]);
    expect(await count()).toBe(0);
  });

  test("that are gone, or in another MongoDB, are no empty results: callers and the log are told, the log once", async () => {
    const { store, begin, results, clock, logger } = await open();
    const lease = await begin();
    await store.succeed(lease, { found: 1 });
    await results.trim(clock.now + 1);
    const told = { code: "UPSTREAM_UNAVAILABLE", message: expect.stringMatching(/not in MongoDB.*MONGODB_URL/) };
    await expect(store.resultsOf([lease.taskId])).rejects.toMatchObject(told);
    await expect(store.resultsOf([lease.taskId])).rejects.toMatchObject(told);
    expect(logger.error).toHaveBeenCalledExactlyOnceWith({ missing: [expect.any(String)] }, told.message);
  });

  test("go after their tasks, those that no task has among them", async () => {
    const { store, begin, results, clock, count } = await open();
    await store.succeed(await begin(), "old");
    await results.write({ id: newId(), taskId: "none", value: "a run's that died", at: clock.now });
    clock.now += 30 * DAY_MS;
    const fresh = await begin();
    await store.succeed(fresh, "fresh");
    await store.trim(clock.now - 30 * DAY_MS + 1);
    expect(await count()).toBe(3);
    await store.trim(clock.now - 29 * DAY_MS + 1);
    expect(await count()).toBe(1);
    expect(await store.resultsOf([fresh.taskId])).toEqual(["fresh"]);
  });

  test("are removed by the thousand, until somebody stops it", async () => {
    const { results, clock, count } = await open();
    const writes = Array.from({ length: 1_200 }, (_, n) =>
      results.write({ id: newId(), taskId: "t", value: n, at: clock.now }),
    );
    await Promise.all(writes);
    expect(await results.trim(clock.now + 1, AbortSignal.abort())).toBe(0);
    expect(await results.trim(clock.now + 1)).toBe(1_200);
    expect(await count()).toBe(0);
  });
});
