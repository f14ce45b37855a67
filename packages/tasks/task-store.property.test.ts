import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInProcessBus } from "@toolyard/events";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { TaskStatus } from "./task.ts";
import { createTaskStore } from "./task-store.sql.ts";
import type { Lease, TaskStore } from "./task-store.ts";

const isTerminal = (status: TaskStatus) => ["SUCCEEDED", "FAILED", "CANCELLED"].includes(status);
const LEASE_MS = 1_000;
let dataDir = "";
let stores: TaskStore[] = [];
let time = 1_800_000_000_000;
let base = 0;

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "toolyard-tasks-"));
  const options = { dataDir, bus: createInProcessBus(), now: () => time };
  // Two processes' views of one file.
  stores = [await createTaskStore(options), await createTaskStore(options)];
});

afterAll(async () => {
  for (const store of stores) await store.close();
  await rm(dataDir, { recursive: true, force: true });
});

/** Each task's newest lease: only it may change the task. */
const newestLease = new Map<string, string>();

/** What a process believes that it holds. A crash forgets it; a slow process keeps it beyond the lease's end. */
interface Held extends Lease {
  until: number;
}

const LEASE_COMMANDS = ["heartbeat", "crash", "succeed", "fail", "retry", "release", "progress", "cancelled"] as const;
type LeaseCommand = (typeof LEASE_COMMANDS)[number];

const command = fc.oneof(
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("enqueue" as const), maxAttempts: fc.integer({ min: 1, max: 3 }) }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("claim" as const) }) },
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constantFrom(...LEASE_COMMANDS),
      which: fc.nat(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("cancel" as const), which: fc.nat() }) },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.constantFrom(150, LEASE_MS - 1, LEASE_MS) }),
  },
);

test("whatever is interleaved, a task is in one terminal state for good, queued, or running under one lease", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(command, fc.boolean()), { minLength: 8, maxLength: 20 }), async (commands) => {
      const ids: string[] = [];
      const held: Held[] = [];
      newestLease.clear();
      base = await firstStore().events.latest();
      await run(firstStore(), { do: "enqueue", maxAttempts: 3 }, ids, held);
      for (const [step, second] of commands) {
        const store = stores[second ? 1 : 0] ?? firstStore();
        await run(store, step, ids, held);
        await check(ids, held);
      }
      await endAll(ids);
      const tasks = await firstStore().getMany(ids);
      expect(tasks.filter((task) => task && !isTerminal(task.status))).toEqual([]);
      await check(ids, []);
    }),
    { numRuns: 100 },
  );
});

function firstStore(): TaskStore {
  const [store] = stores;
  if (!store) throw new Error("The store is not open.");
  return store;
}

async function run(store: TaskStore, step: CommandOf<typeof command>, ids: string[], held: Held[]): Promise<void> {
  switch (step.do) {
    case "enqueue": {
      const task = await store.insert({
        kind: "SMOKE_TEST",
        input: null,
        requestedById: null,
        maxAttempts: step.maxAttempts,
      });
      ids.push(task.id);
      return;
    }
    case "claim": {
      const [claimed] = await store.claim(new Map([["SMOKE_TEST", 1]]), LEASE_MS);
      if (!claimed) return;
      const rivals = held.filter((lease) => lease.taskId === claimed.task.id && lease.until > time);
      expect(rivals, "a task was claimed while another's lease held").toEqual([]);
      newestLease.set(claimed.task.id, claimed.lease.leaseId);
      held.push({ ...claimed.lease, until: time + LEASE_MS });
      return;
    }
    case "wait":
      time += step.ms;
      return;
    case "cancel": {
      const id = ids[step.which % Math.max(1, ids.length)];
      if (id) await store.requestCancel(id);
      return;
    }
    default: {
      const index = step.which % Math.max(1, held.length);
      const lease = held[index];
      if (!lease) return;
      if (step.do !== "heartbeat" && step.do !== "progress") held.splice(index, 1);
      const counted = await use(store, lease, step.do);
      if (newestLease.get(lease.taskId) !== lease.leaseId)
        expect(counted, "a lease that was taken over counted").toBe(false);
      if (counted && step.do === "heartbeat") lease.until = time + LEASE_MS;
    }
  }
}

async function use(store: TaskStore, lease: Held, what: LeaseCommand): Promise<boolean> {
  switch (what) {
    case "heartbeat":
      return store.heartbeat(lease, LEASE_MS);
    case "progress":
      return store.progress(lease, 0.5, "half");
    case "succeed":
      return store.succeed(lease, { by: lease.leaseId });
    case "fail":
      return store.fail(lease, { code: "NOT_FOUND", message: "gone" });
    case "retry":
      return store.retry(lease, { code: "TIMEOUT", message: "slow" }, time + 200);
    case "release":
      return store.release(lease);
    case "cancelled":
      return store.cancelled(lease);
    case "crash":
      return false;
  }
}

type CommandOf<Arbitrary> = Arbitrary extends fc.Arbitrary<infer Command> ? Command : never;

/** Rows and events say the same, and each state has what belongs to it. */
async function check(ids: string[], held: Held[]): Promise<void> {
  const tasks = await firstStore().getMany(ids);
  const results = await firstStore().resultsOf(ids);
  const events = await firstStore().events.readAfter(base, 10_000);
  for (const [place, task] of tasks.entries()) {
    if (!task) throw new Error("A task is gone.");
    const own = events.filter((event) => event.subjectId === task.id);
    const ends = own.filter((event) => isTerminal(event.payload.status));
    expect(own.at(-1)?.payload.status).toBe(task.status);
    expect(ends).toHaveLength(isTerminal(task.status) ? 1 : 0);
    expect(task.finishedAt === null).toBe(!isTerminal(task.status));
    expect(task.error !== null).toBe(task.status === "FAILED");
    expect(results[place] !== null).toBe(task.status === "SUCCEEDED");
    expect(task.attempts).toBeLessThanOrEqual(task.maxAttempts);
    if (task.status === "QUEUED") expect(task.startedAt).toBeNull();
    const valid = held.filter((lease) => lease.taskId === task.id && lease.until > time);
    expect(valid.length).toBeLessThanOrEqual(1);
    if (valid.length === 1) expect(task.status).toBe("RUNNING");
  }
}

async function endAll(ids: string[]): Promise<void> {
  time += LEASE_MS;
  for (const id of ids) await firstStore().requestCancel(id);
}
