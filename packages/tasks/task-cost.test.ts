import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInProcessBus } from "@toolyard/events";
import { plansOf, statementsOf } from "@toolyard/testing";
import LibsqlDatabase from "libsql";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { TaskKind } from "./task.ts";
import { createTaskStore } from "./task-store.sql.ts";
import type { TaskStore } from "./task-store.ts";

const KINDS: TaskKind[] = ["FEASIBILITY", "IMPROVEMENTS"];
const ENDED = 3_000;
const WAITING = 3_000;
const NOW = 1_000_000;
let dataDir: string;
let store: TaskStore;

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "toolyard-tasks-"));
  store = await createTaskStore({ dataDir, bus: createInProcessBus(), now: () => NOW });
  const database = new LibsqlDatabase(join(dataDir, "tasks.sqlite"));
  const insert = (count: number, status: string, prefix: string, finishedAt: string) =>
    database.exec(
      `WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ${count})
       INSERT INTO tasks (id, kind, status, progress, attempts, maxAttempts, cancelRequested, createdAt, finishedAt, dueAt)
       SELECT '${prefix}' || printf('%06d', n), iif(n % 2, 'FEASIBILITY', 'IMPROVEMENTS'), '${status}', 0, 0, 3, 0, 1, ${finishedAt}, ${count} - n FROM numbers`,
    );
  insert(ENDED, "SUCCEEDED", "ended-", "n");
  insert(WAITING, "QUEUED", "waiting-", "NULL");
  database.close();
});
afterAll(async () => {
  await store.close();
  await rm(dataDir, { recursive: true, force: true });
});

async function planned(work: () => Promise<unknown>): Promise<string[]> {
  return plansOf(await statementsOf(work)).flatMap(({ steps }) => steps);
}

test("the task due longest is found by the index, however many wait and have ended", async () => {
  const steps = await planned(async () => {
    expect(await store.nextDueAt(KINDS)).toBe(0);
    const claims = await store.claim(new Map(KINDS.map((kind) => [kind, 3])), 1_000);
    const oldest = Array.from({ length: 6 }, (_, n) => `waiting-${String(WAITING - n).padStart(6, "0")}`);
    expect(claims.map(({ task }) => task.id)).toEqual(oldest);
    for (const { lease } of claims) {
      await store.heartbeat(lease, 1_000);
      await store.inspect([lease]);
      await store.succeed(lease, null);
    }
  });
  expect(steps.filter((step) => /task|due/.test(step))).not.toEqual([]);
  // Of the given ids, and of what the index found.
  for (const step of steps) expect(step).not.toMatch(/SCAN (?!k VIRTUAL|part VIRTUAL|part_\d)|TEMP B-TREE/);
});

test("what is asked for at once is one transaction, of as many statements as for one", async () => {
  const asked = async (count: number) => {
    const statements = await statementsOf(async () => {
      const claims = await store.claim(new Map([["FEASIBILITY", count]]), 1_000);
      expect(claims).toHaveLength(count);
      const newTask = { kind: "SMOKE_TEST", input: {}, requestedById: null } as const;
      await Promise.all(claims.flatMap(({ lease }) => [store.succeed(lease, null), store.insert(newTask)]));
    });
    return statements.map(({ sql }) => sql);
  };
  const [one, many] = [await asked(1), await asked(50)];
  expect(many).toEqual(one);
  expect(many.filter((sql) => sql === "COMMIT")).toHaveLength(2);
});

test("old tasks are removed in transactions of a bounded size, and no further once it is told to end", async () => {
  const ended = new AbortController();
  ended.abort();
  expect(await store.trim(ENDED + 1, ended)).toBe(0);
  const statements = await statementsOf(async () => expect(await store.trim(ENDED + 1)).toBe(ENDED));
  expect(statements.filter(({ sql }) => sql.startsWith("DELETE")).length).toBeGreaterThan(3);
  const [first] = plansOf(statements.filter(({ sql }) => /DELETE FROM "?tasks/.test(sql)));
  expect(first?.steps).toEqual(expect.arrayContaining([expect.stringMatching(/COVERING INDEX \S+ \(finishedAt<\?\)/)]));
  expect((await store.countByStatus()).QUEUED).toBe(WAITING - 6 - 51 + 51);
});
