import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInProcessBus } from "@toolyard/events";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createTaskStore } from "./task-store.sql.ts";
import type { ClaimedTask, Lease, TaskStore } from "./task-store.ts";

const LEASE_MS = 1_000;
const error = { code: "TIMEOUT", message: "slow" };
let dataDir = "";
let store: TaskStore;
let time = 1_800_000_000_000;

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "toolyard-tasks-"));
  store = await createTaskStore({ dataDir, bus: createInProcessBus(), now: () => time });
});
afterAll(async () => {
  await store.close();
  await rm(dataDir, { recursive: true, force: true });
});

async function claim(): Promise<ClaimedTask> {
  const claimed = await store.claim(["VALIDATION"], LEASE_MS);
  if (!claimed) throw new Error("There was nothing to claim.");
  return claimed;
}

describe("a lease that was taken over", () => {
  test.each<[string, (lease: Lease) => Promise<boolean>]>([
    ["heartbeat", (lease) => store.heartbeat(lease, LEASE_MS)],
    ["progress", (lease) => store.progress(lease, 0.5, "half")],
    ["succeed", (lease) => store.succeed(lease, "late")],
    ["fail", (lease) => store.fail(lease, error)],
    ["retry", (lease) => store.retry(lease, error, time)],
    ["release", (lease) => store.release(lease)],
    ["cancelled", (lease) => store.cancelled(lease)],
  ])("%s answers false and changes nothing", async (_, use) => {
    await store.insert({ kind: "VALIDATION", input: null, requestedById: null });
    const lost = await claim();
    time += LEASE_MS;
    const holder = await claim();
    expect(holder.task.id).toBe(lost.task.id);
    const before = { tasks: await store.getMany([lost.task.id]), latest: await store.events.latest() };
    expect(await use(lost.lease)).toBe(false);
    expect({ tasks: await store.getMany([lost.task.id]), latest: await store.events.latest() }).toEqual(before);
    expect(await store.inspect([lost.lease, holder.lease])).toEqual({ lost: [lost.lease], cancelled: [] });
    expect(await store.succeed(holder.lease, "done")).toBe(true);
    expect(await store.getMany([lost.task.id])).toMatchObject([{ status: "SUCCEEDED", result: "done", attempts: 2 }]);
  });
});

test("an operation after the task's end answers false, whichever way it ended", async () => {
  for (const end of ["succeed", "fail", "release"] as const) {
    await store.insert({ kind: "VALIDATION", input: null, requestedById: null });
    const { lease, task } = await claim();
    await (end === "succeed"
      ? store.succeed(lease, 1)
      : end === "fail"
        ? store.fail(lease, error)
        : store.release(lease));
    expect(await store.succeed(lease, "again")).toBe(false);
    await store.requestCancel(task.id);
  }
});
