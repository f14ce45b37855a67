import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { ToolyardError } from "@toolyard/service-kit";
import { eventually } from "@toolyard/testing/eventually.ts";
import { expect, test } from "vitest";
import type { NewTask, Task, TaskEvent } from "./task.ts";
import { MAX_RESULT_BYTES } from "./task-results.ts";
import type { TaskQueue, TaskRun } from "./task-queue.ts";

export interface TaskQueueFixture {
  /** A queue on the fixture's installation, as another process would have one. `heartbeats: false`: its leases run out. */
  open(options?: { heartbeats?: boolean; graceMs?: number }): Promise<TaskQueue>;
  /** The time that the queues know; real time does not move it. */
  advance(ms: number): void;
  /** Waits until every queue that works has looked for work, from the beginning to the end: what it must not do it would have done. */
  looked(): Promise<void>;
  /** Starts a process that runs FEASIBILITY tasks, prints `started <task id> <attempt>` and never ends one. */
  startWorkerProcess(): ChildProcess;
}

/** The lease of every queue of the fixture. */
export const LEASE_MS = 30_000;
/** The delay before a second attempt. */
export const RETRY_BASE_MS = 1_000;

const job = (input: unknown = {}, more: Partial<NewTask> = {}): NewTask => ({
  kind: "FEASIBILITY",
  input,
  requestedById: "user-1",
  ...more,
});

/** What every adapter of the task queue must show. `withFixture` makes a fresh installation and releases it after. */
export function taskQueueContract(
  withFixture: (run: (fixture: TaskQueueFixture) => Promise<void>) => Promise<void>,
): void {
  test("an enqueued task runs with its input and ends with its result", () =>
    withFixture(async ({ open }) => {
      const queue = await open();
      queue.register("FEASIBILITY", async ({ input }) => ({ echoed: input }));
      const queued = await queue.enqueue(job({ city: "Oslo" }, { toolId: "tool-1", ownerId: "user-2" }));
      expect(queued).toMatchObject({ status: "QUEUED", attempts: 0, progress: 0, startedAt: null, finishedAt: null });
      expect(await statusOf(queue, queued.id, "SUCCEEDED")).toMatchObject({
        result: { echoed: { city: "Oslo" } },
        attempts: 1,
        progress: 1,
        error: null,
        requestedById: "user-1",
        toolId: "tool-1",
        ownerId: "user-2",
      });
    }));

  test("a task waits for a process that registers its kind, also through closing and opening again", () =>
    withFixture(async ({ open }) => {
      const first = await open();
      first.register("IMPROVEMENTS", async () => "not this kind");
      const { id } = await first.enqueue(job());
      await first.close();
      const second = await open();
      expect((await second.store.getMany([id]))[0]?.status).toBe("QUEUED");
      second.register("FEASIBILITY", async () => "done");
      await statusOf(second, id, "SUCCEEDED");
    }));

  test("tasks run oldest first, at most as many at once as allowed", () =>
    withFixture(async ({ open }) => {
      const queue = await open();
      const tasks = [];
      for (const n of [1, 2, 3, 4, 5]) tasks.push(await queue.enqueue(job(n)));
      const order: unknown[] = [];
      let running = 0;
      let most = 0;
      queue.register(
        "FEASIBILITY",
        async ({ input }) => {
          order.push(input);
          most = Math.max(most, ++running);
          await new Promise((resolve) => setImmediate(resolve));
          running--;
        },
        { concurrency: 1 },
      );
      await Promise.all(tasks.map(({ id }) => statusOf(queue, id, "SUCCEEDED")));
      expect(order).toEqual([1, 2, 3, 4, 5]);
      expect(most).toBe(1);
    }));

  test("tasks that a user waits for run before those that nobody asked for", () =>
    withFixture(async ({ open }) => {
      const queue = await open();
      const ids: string[] = [];
      for (const [n, requestedById] of [null, "user-1", null, "user-1"].entries())
        ids.push((await queue.enqueue(job(n, { requestedById }))).id);
      const order: unknown[] = [];
      queue.register("FEASIBILITY", async ({ input }) => order.push(input), { concurrency: 1 });
      await Promise.all(ids.map((id) => statusOf(queue, id, "SUCCEEDED")));
      expect(order).toEqual([1, 3, 0, 2]);
    }));

  test("two workers share the work, and no task runs on both while leases hold", () =>
    withFixture(async ({ open }) => {
      const queues = [await open(), await open()];
      const runs: string[] = [];
      const startedOn = [0, 0];
      const release = Promise.withResolvers<void>();
      for (const [index, queue] of queues.entries()) {
        queue.register(
          "FEASIBILITY",
          async ({ task }) => {
            runs.push(task.id);
            startedOn[index] = (startedOn[index] ?? 0) + 1;
            await release.promise;
          },
          { concurrency: 3 },
        );
      }
      const [queue] = queues as [TaskQueue, TaskQueue]; // two were opened above
      const tasks = [];
      for (let n = 0; n < 6; n++) tasks.push(await queue.enqueue(job(n)));
      await expect.poll(() => runs).toHaveLength(6);
      release.resolve();
      await Promise.all(tasks.map(({ id }) => statusOf(queue, id, "SUCCEEDED")));
      expect(new Set(runs).size).toBe(6);
      expect(runs).toHaveLength(6);
      expect(startedOn).toEqual([3, 3]);
    }));

  test("an error that may pass is retried with growing delays, then the task fails with its public code", () =>
    withFixture(async ({ open, advance, looked }) => {
      const queue = await open();
      let runs = 0;
      queue.register("FEASIBILITY", async () => {
        runs++;
        throw new ToolyardError("UPSTREAM_UNAVAILABLE", "The tools subgraph does not answer.");
      });
      const { id } = await queue.enqueue(job());
      await expect.poll(() => get(queue, id)).toMatchObject({ status: "QUEUED", attempts: 1 });
      advance(RETRY_BASE_MS - 1);
      await looked();
      expect(runs).toBe(1);
      advance(1);
      await expect.poll(() => get(queue, id)).toMatchObject({ status: "QUEUED", attempts: 2 });
      advance(RETRY_BASE_MS * 2 - 1);
      await looked();
      expect(runs).toBe(2);
      advance(1);
      expect(await statusOf(queue, id, "FAILED")).toMatchObject({
        attempts: 3,
        error: { code: "UPSTREAM_UNAVAILABLE", message: "The tools subgraph does not answer." },
      });
      expect(runs).toBe(3);
    }));

  test("an error that asks for a time to wait is retried then", () =>
    withFixture(async ({ open, advance, looked }) => {
      const queue = await open();
      queue.register("FEASIBILITY", async ({ task }) => {
        if (task.attempts === 1) throw new ToolyardError("RATE_LIMITED", "Slow down.", { retryAfterSeconds: 20 });
        return "through";
      });
      const { id } = await queue.enqueue(job());
      await expect.poll(async () => (await get(queue, id)).message).toMatch("Slow down");
      advance(19_000);
      await looked();
      expect((await get(queue, id)).status).toBe("QUEUED");
      advance(1_000);
      expect((await statusOf(queue, id, "SUCCEEDED")).result).toBe("through");
    }));

  test("an error that will not pass fails the task at once", () =>
    withFixture(async ({ open }) => {
      const queue = await open();
      queue.register("FEASIBILITY", async () => {
        throw new ToolyardError("NOT_FOUND", "There is no tool.");
      });
      const { id } = await queue.enqueue(job());
      expect(await statusOf(queue, id, "FAILED")).toMatchObject({
        attempts: 1,
        result: null,
        error: { code: "NOT_FOUND", message: "There is no tool." },
      });
    }));

  test("a result that is too large fails its task at once, with both sizes", () =>
    withFixture(async ({ open }) => {
      const queue = await open();
      queue.register("FEASIBILITY", async () => "x".repeat(2 * MAX_RESULT_BYTES));
      const { id } = await queue.enqueue(job());
      expect(await statusOf(queue, id, "FAILED")).toMatchObject({
        attempts: 1,
        error: { code: "PAYLOAD_TOO_LARGE", message: expect.stringMatching(/has 6\.0 MiB, and at most 3\.0 MiB/) },
      });
    }));

  test("an unexpected error shows no internals", () =>
    withFixture(async ({ open }) => {
      const queue = await open();
      queue.register("FEASIBILITY", async () => {
        throw new TypeError("password hunter2 at /srv/secret.ts");
      });
      const { id } = await queue.enqueue(job({}, { maxAttempts: 1 }));
      const { error } = await statusOf(queue, id, "FAILED");
      expect(error?.code).toBe("INTERNAL_SERVER_ERROR");
      expect(error?.message).not.toMatch(/hunter2|secret/);
    }));

  test("a waiting task is cancelled at once and never runs", () =>
    withFixture(async ({ open, looked }) => {
      const queue = await open();
      const { id } = await queue.enqueue(job());
      expect(await queue.cancel(id)).toMatchObject({ status: "CANCELLED" });
      let runs = 0;
      queue.register("FEASIBILITY", async () => runs++);
      await looked();
      expect(runs).toBe(0);
      expect((await get(queue, id)).finishedAt).not.toBeNull();
    }));

  test("cancelling a running task aborts its signal, also from another process; then it is CANCELLED", () =>
    withFixture(async ({ open }) => {
      const [worker, other] = [await open(), await open()];
      const started = Promise.withResolvers<TaskRun>();
      worker.register("FEASIBILITY", async (run) => {
        started.resolve(run);
        await once(run.signal, "abort");
        throw run.signal.reason;
      });
      const { id } = await worker.enqueue(job());
      await started.promise;
      expect(await other.cancel(id)).toMatchObject({ status: "RUNNING", cancelRequested: true });
      expect(await statusOf(worker, id, "CANCELLED")).toMatchObject({ error: null, result: null });
    }));

  test("a cancelled task is CANCELLED also where its handler does not let go", () =>
    withFixture(async ({ open, looked }) => {
      const queue = await open({ graceMs: 20 });
      const started = Promise.withResolvers<void>();
      const held = Promise.withResolvers<string>();
      queue.register("FEASIBILITY", () => {
        started.resolve();
        return held.promise;
      });
      const { id } = await queue.enqueue(job());
      await started.promise;
      await queue.cancel(id);
      await statusOf(queue, id, "CANCELLED");
      held.resolve("too late");
      await looked();
      expect(await get(queue, id)).toMatchObject({ status: "CANCELLED", result: null });
    }));

  test("cancelling an ended or unknown task changes nothing", () =>
    withFixture(async ({ open }) => {
      const queue = await open();
      queue.register("FEASIBILITY", async () => "done");
      const { id } = await queue.enqueue(job());
      await statusOf(queue, id, "SUCCEEDED");
      expect(await queue.cancel(id)).toMatchObject({ status: "SUCCEEDED" });
      expect(await get(queue, id)).toMatchObject({ status: "SUCCEEDED", result: "done" });
      expect(await queue.cancel("0190a000-0000-7000-8000-000000000000")).toBeNull();
    }));

  test("a run that takes too long fails with TIMEOUT", () =>
    withFixture(async ({ open }) => {
      const queue = await open({ graceMs: 20 });
      queue.register("FEASIBILITY", () => new Promise(() => undefined), { timeoutMs: 30 });
      const { id } = await queue.enqueue(job());
      expect((await statusOf(queue, id, "FAILED")).error?.code).toBe("TIMEOUT");
    }));

  test("progress is kept on the task; frequent reports make few events, and none is lost at the end", () =>
    withFixture(async ({ open }) => {
      const queue = await open();
      const reported = Promise.withResolvers<void>();
      queue.register("FEASIBILITY", async ({ progress }) => {
        for (let n = 0; n <= 500; n++) progress(n / 1_000, `step ${n}`);
        await reported.promise;
      });
      const { id } = await queue.enqueue(job());
      await expect.poll(() => get(queue, id)).toMatchObject({ progress: 0.5, message: "step 500" });
      reported.resolve();
      await statusOf(queue, id, "SUCCEEDED");
      const events = await eventsOf(queue, id);
      expect(events.filter(({ kind }) => kind === "progress")).toHaveLength(2);
    }));

  test("every change is an event, in order, and a follower sees them live", () =>
    withFixture(async ({ open }) => {
      const queue = await open();
      const { id } = await queue.enqueue(job());
      const seen: TaskEvent["status"][] = [];
      const following = (async () => {
        for await (const { payload } of queue.follow({ after: "0", subjectId: id })) {
          seen.push(payload.status);
          if (payload.status === "SUCCEEDED") return;
        }
      })();
      queue.register("FEASIBILITY", async () => "done");
      await following;
      expect(seen).toEqual(["QUEUED", "RUNNING", "SUCCEEDED"]);
      expect((await eventsOf(queue, id)).map(({ kind }) => kind)).toEqual(["queued", "started", "succeeded"]);
    }));

  test("closing gives running tasks back to the queue, uncounted, and aborts their signals", () =>
    withFixture(async ({ open }) => {
      const queue = await open();
      const started = Promise.withResolvers<void>();
      queue.register("FEASIBILITY", async ({ signal }) => {
        started.resolve();
        await once(signal, "abort");
        throw new Error("stopped half-way");
      });
      const { id } = await queue.enqueue(job());
      await started.promise;
      await queue.close();
      const next = await open();
      expect(await get(next, id)).toMatchObject({ status: "QUEUED", attempts: 0, error: null, startedAt: null });
      next.register("FEASIBILITY", async () => "done");
      expect(await statusOf(next, id, "SUCCEEDED")).toMatchObject({ attempts: 1 });
    }));

  test("closing does not wait for a handler that does not let go", () =>
    withFixture(async ({ open }) => {
      const queue = await open({ graceMs: 20 });
      const started = Promise.withResolvers<void>();
      const worker = queue.register("FEASIBILITY", () => {
        started.resolve();
        return new Promise(() => undefined);
      });
      const { id } = await queue.enqueue(job());
      await started.promise;
      await worker.close();
      expect((await get(queue, id)).status).toBe("QUEUED");
    }));

  test("of quick tasks behind one that takes long, none waits for it where another process has room, and none runs twice", () =>
    withFixture(async ({ open }) => {
      const [first, second] = [await open(), await open()];
      const ids: string[] = [];
      for (let n = 0; n < 40; n++) ids.push((await first.enqueue(job(n))).id);
      const [slow = "", unwanted = ""] = ids.slice(9, 11);
      const started = Promise.withResolvers<void>();
      const held = Promise.withResolvers<void>();
      const runs: unknown[] = [];
      const handler = async ({ input, task }: TaskRun) => {
        runs.push(input);
        if (task.id !== slow) return;
        started.resolve();
        await held.promise;
      };
      first.register("FEASIBILITY", handler, { concurrency: 1 });
      await started.promise;
      await second.cancel(unwanted);
      await statusOf(second, unwanted, "CANCELLED");
      second.register("FEASIBILITY", handler, { concurrency: 1 });
      for (const id of ids) if (id !== slow && id !== unwanted) await statusOf(second, id, "SUCCEEDED");
      held.resolve();
      expect(await statusOf(second, slow, "SUCCEEDED")).toMatchObject({ attempts: 1 });
      expect(runs.toSorted((a, b) => Number(a) - Number(b))).toEqual(
        Array.from({ length: 40 }, (_, n) => n).toSpliced(10, 1),
      );
    }));

  test("closing gives back what was taken ahead, uncounted", () =>
    withFixture(async ({ open }) => {
      const queue = await open({ graceMs: 20 });
      const ids: string[] = [];
      for (let n = 0; n < 40; n++) ids.push((await queue.enqueue(job(n))).id);
      const started = Promise.withResolvers<void>();
      const handler = ({ input }: TaskRun) =>
        input === 9 ? (started.resolve(), new Promise(() => {})) : Promise.resolve();
      queue.register("FEASIBILITY", handler, { concurrency: 1 });
      await started.promise;
      await queue.close();
      const next = await open();
      const found = await next.store.getMany(ids);
      expect(found.map((task) => [task?.status, task?.attempts])).toEqual(
        ids.map((_, n) => (n < 9 ? ["SUCCEEDED", 1] : ["QUEUED", 0])),
      );
    }));

  test("when a lease ends without being renewed, another worker runs the task and the first outcome does not count", () =>
    withFixture(async ({ open, advance, looked }) => {
      const [lost, rescuer] = [await open({ heartbeats: false }), await open()];
      const started = Promise.withResolvers<void>();
      const held = Promise.withResolvers<string>();
      lost.register(
        "FEASIBILITY",
        () => {
          started.resolve();
          return held.promise;
        },
        { concurrency: 1 },
      );
      const { id } = await lost.enqueue(job());
      await started.promise;
      rescuer.register("FEASIBILITY", async () => "rescued");
      advance(LEASE_MS - 1);
      await looked();
      expect(await get(rescuer, id)).toMatchObject({ status: "RUNNING", attempts: 1 });
      advance(1);
      expect(await statusOf(rescuer, id, "SUCCEEDED")).toMatchObject({ result: "rescued", attempts: 2 });
      held.resolve("late");
      await looked();
      expect((await get(rescuer, id)).result).toBe("rescued");
    }));

  test("a task whose process dies each time fails after its attempts", () =>
    withFixture(async ({ open, advance }) => {
      const queue = await open({ heartbeats: false, graceMs: 20 });
      let runs = 0;
      queue.register("FEASIBILITY", () => {
        runs++;
        return new Promise(() => undefined);
      });
      const { id } = await queue.enqueue(job({}, { maxAttempts: 2 }));
      for (const attempt of [1, 2]) {
        await expect.poll(() => runs).toBe(attempt);
        advance(LEASE_MS);
      }
      expect((await statusOf(queue, id, "FAILED")).error?.message).toMatch("ended before the task was done");
      expect(runs).toBe(2);
    }));

  test("a task of a process that was killed with SIGKILL is run again by another", () =>
    withFixture(async ({ open, advance, startWorkerProcess, looked }) => {
      const queue = await open();
      const { id } = await queue.enqueue(job());
      const child = startWorkerProcess();
      if (!child.stdout) throw new Error("The worker process has no stdout.");
      const [line] = await once(createInterface({ input: child.stdout }), "line");
      expect(line).toBe(`started ${id} 1`);
      expect((await get(queue, id)).status).toBe("RUNNING");
      child.kill("SIGKILL");
      await once(child, "exit");
      queue.register("FEASIBILITY", async () => "resumed");
      await looked();
      expect((await get(queue, id)).status).toBe("RUNNING");
      advance(LEASE_MS + 60_000);
      expect(await statusOf(queue, id, "SUCCEEDED")).toMatchObject({ result: "resumed", attempts: 2 });
    }));

  test("tasks are listed newest first by status, kind and tool, and counted by status", () =>
    withFixture(async ({ open }) => {
      const queue = await open();
      const first = await queue.enqueue(job({}, { toolId: "tool-1" }));
      const second = await queue.enqueue(job({}, { toolId: "tool-1", kind: "IMPROVEMENTS" }));
      const third = await queue.enqueue(job());
      await queue.cancel(third.id);
      const page = { limit: 10, afterId: null, offset: 0 };
      const idsOf = async (filter: Parameters<TaskQueue["store"]["list"]>[0]) =>
        (await queue.store.list(filter, page).rows()).map((task) => task.id);
      expect(await idsOf({})).toEqual([third.id, second.id, first.id]);
      expect(await idsOf({ toolId: "tool-1" })).toEqual([second.id, first.id]);
      expect(await idsOf({ kind: "IMPROVEMENTS" })).toEqual([second.id]);
      expect(await idsOf({ status: "CANCELLED" })).toEqual([third.id]);
      const older = await queue.store.list({}, { limit: 1, afterId: third.id, offset: 0 }).rows();
      expect(older.map(({ id }) => id)).toEqual([second.id, first.id]);
      expect(await queue.store.list({ toolId: "tool-1" }, page).totalCount()).toBe(2);
      expect(await queue.store.countByStatus()).toEqual({
        QUEUED: 2,
        RUNNING: 0,
        SUCCEEDED: 0,
        FAILED: 0,
        CANCELLED: 1,
      });
    }));
}

/** A task with its result. */
type WholeTask = Task & { result: unknown };

async function get(queue: TaskQueue, id: string): Promise<WholeTask> {
  const [task] = await queue.store.getMany([id]);
  if (!task) throw new Error(`There is no task ${id}.`);
  const [result] = await queue.store.resultsOf([id]);
  return { ...task, result };
}

function statusOf(queue: TaskQueue, id: string, status: Task["status"]): Promise<WholeTask> {
  return eventually(`a task that is ${status}`, async () => {
    const task = await get(queue, id);
    return task.status === status && task;
  });
}

function eventsOf(queue: TaskQueue, id: string) {
  return queue.store.events.readAfter(0, 1_000, id);
}
