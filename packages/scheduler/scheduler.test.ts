import { createLogger } from "@toolyard/service-kit";
import { deleteInChunks, type Database, type LongWork } from "@toolyard/storage";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { oldEntity, openTwice } from "./fixtures/database.ts";
import { createSqlJobLeases } from "./job-leases.sql.ts";
import { createScheduler, type Job, type ScheduledJobs } from "./scheduler.ts";

const HOUR_MS = 3_600_000;
const logger = createLogger({ level: "silent", name: "test" });

let databases: readonly [Database, Database];
let closeDatabases: () => Promise<void>;
let time: number;
const added: ScheduledJobs[] = [];
beforeEach(async () => {
  time = 1_800_000_000_000;
  ({ databases, close: closeDatabases } = await openTwice());
});
afterEach(async () => {
  for (const jobs of added.splice(0)) await jobs.close();
  await closeDatabases();
});

/** A process that runs a job when it starts, if that is overdue, and next in a year. */
function start(process: 0 | 1, run: (work: LongWork) => Promise<number>, options: { schedule?: string } = {}) {
  const { schedule = "0 0 1 1 *" } = options;
  const job: Job = { name: "old", leases: createSqlJobLeases(databases[process]), run };
  const jobs = createScheduler({ logger, schedule, now: () => time, random: () => 0 }).add([job]);
  added.push(jobs);
  return jobs;
}
const valueOf = (jobs: ScheduledJobs, metric: string) =>
  jobs.gauges().find(({ name }) => name === `scheduled_job_${metric}`)?.value;
/** The job was known, and nobody has run it since. */
async function makeOverdue(): Promise<void> {
  await createSqlJobLeases(databases[0]).stateOf("old", time);
  time += 400 * 24 * HOUR_MS;
}
const addOld = (ids: readonly string[]) =>
  databases[0].transaction(
    async ({ manager }) =>
      void (await manager.insert(
        oldEntity,
        ids.map((id) => ({ id })),
      )),
  );
const remaining = () => databases[0].read.countBy(oldEntity, {});

test("a job that is new waits for its time, and one that is overdue runs at the start, in one of the processes", async () => {
  let runs = 0;
  const run = async () => ++runs;
  await start(0, run).close();
  expect(runs).toBe(0);
  time += 400 * 24 * HOUR_MS;
  const both = [start(0, run), start(1, run)];
  const successes = () => both.map((jobs) => valueOf(jobs, "last_success_timestamp_seconds"));
  await expect.poll(successes).toContain(time / 1_000);
  for (const jobs of both) await jobs.close();
  expect(runs).toBe(1);
  expect(new Set(both.map((jobs) => valueOf(jobs, "rows_total")))).toEqual(new Set([0, 1]));
});

test("runs of a job never overlap, however short its interval, and go on after a long one", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
  try {
    let runs = 0;
    const held = Promise.withResolvers<number>();
    const run = () => (++runs === 1 ? held.promise : Promise.resolve(0));
    added.push(createScheduler({ logger, schedule: "* * * * * *" }).add([{ name: "own", leases: null, run }]));
    const second = () => vi.advanceTimersByTimeAsync(1_000);
    await expect.poll(() => second().then(() => runs)).toBe(1);
    for (let n = 0; n < 5; n += 1) await second();
    expect(runs).toBe(1);
    held.resolve(0);
    await expect.poll(() => second().then(() => runs)).toBeGreaterThan(1);
  } finally {
    vi.useRealTimers();
  }
});

test("a runner that was away past its lease writes nothing more, and the job is another's", async () => {
  await makeOverdue();
  await addOld(["a", "b"]);
  const begun = Promise.withResolvers<void>();
  const paused = Promise.withResolvers<void>();
  const late = start(0, async (work) => {
    begun.resolve();
    await paused.promise;
    return deleteInChunks(databases[0], oldEntity, {}, work);
  });
  await begun.promise;
  time += HOUR_MS;
  const next = start(1, async () => 0);
  await expect.poll(() => valueOf(next, "last_success_timestamp_seconds")).toBe(time / 1_000);
  paused.resolve();
  await expect.poll(() => valueOf(late, "failures_total")).toBe(1);
  expect(await remaining()).toBe(2);
});

test("while a runner works, its lease is renewed and nobody else begins", async () => {
  await makeOverdue();
  await addOld(["a"]);
  const begun = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  const first = start(0, async (work) => {
    const transaction = () => deleteInChunks(databases[0], oldEntity, {}, work);
    const rows = await transaction();
    time += 9 * 60_000;
    await transaction();
    time += 9 * 60_000;
    begun.resolve();
    await go.promise;
    return rows;
  });
  await begun.promise;
  const lease = createSqlJobLeases(databases[1]);
  expect(await lease.take("old", { runner: "x", now: time, leaseMs: HOUR_MS, unlessRunSince: 0 })).toBeNull();
  go.resolve();
  await expect.poll(() => valueOf(first, "rows_total")).toBe(1);
});

test("a job that fails is told where it is overdue, with its name and without the error's words", async () => {
  await makeOverdue();
  const jobs = start(0, () => Promise.reject(new Error("swordfish")));
  await expect.poll(() => valueOf(jobs, "failures_total")).toBe(1);
  expect(jobs.health()).toMatchObject({ name: "jobs", status: "healthy", essential: false });
  time += 3 * 366 * 24 * HOUR_MS;
  expect(jobs.health()).toMatchObject({ status: "degraded", detail: expect.stringContaining("old") as unknown });
  expect(JSON.stringify(jobs.health())).not.toContain("swordfish");
  const other = start(1, async () => 0);
  await expect.poll(() => valueOf(other, "last_success_timestamp_seconds")).toBe(time / 1_000);
  expect(other.health().status).toBe("healthy");
});

test("closing ends a run between two transactions, and the job can be taken at once", async () => {
  await makeOverdue();
  const begun = Promise.withResolvers<void>();
  const jobs = start(0, async ({ signal }) => {
    begun.resolve();
    await new Promise((resolve) => signal?.addEventListener("abort", resolve));
    return 3;
  });
  await begun.promise;
  await jobs.close();
  expect(valueOf(jobs, "last_success_timestamp_seconds")).toBeUndefined();
  const next = start(1, async () => 0);
  await expect.poll(() => valueOf(next, "last_success_timestamp_seconds")).toBe(time / 1_000);
});
