import { newId, type Page } from "@toolyard/service-kit";
import { everyPage, ODD_JSON, testMethods } from "@toolyard/testing/port-contract.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { largestResult } from "./fixtures/largest-result.ts";
import { TASK_STATUSES, type NewTask, type Task, type TaskKind } from "./task.ts";
import type { ClaimedTask, Lease, TaskStore } from "./task-store.ts";

export interface OpenTaskStore {
  /** The same store, as two processes have it open; `now` is their clock, in epoch milliseconds. */
  stores: readonly [TaskStore, TaskStore];
  close(): Promise<void>;
}

const LEASE_MS = 1_000;
const FIRST_PAGE: Page = { limit: 100, afterId: null, offset: 0 };
const error = { code: "TIMEOUT", message: "\u{1f600} slow" };
const NEW: NewTask = { kind: "VALIDATION", input: null, requestedById: null };

const roomFor = (kind: TaskKind, most = 1) => new Map([[kind, most]]);

/** What every adapter of TaskStore must show. */
export function taskStoreContract(name: string, open: (now: () => number) => Promise<OpenTaskStore>): void {
  describe(`TaskStore on ${name}`, () => {
    let opened: OpenTaskStore;
    let store: TaskStore;
    let time = 1_800_000_000_123;
    beforeAll(async () => {
      opened = await open(() => time);
      [store] = opened.stores;
    });
    afterAll(() => opened.close());

    async function claim(kind: TaskKind = "VALIDATION"): Promise<ClaimedTask> {
      const [claimed] = await store.claim(roomFor(kind), LEASE_MS);
      if (!claimed) throw new Error("There was nothing to claim.");
      return claimed;
    }
    async function begin(more: Partial<NewTask> = {}): Promise<ClaimedTask> {
      const { id } = await store.insert({ ...NEW, ...more });
      const claimed = await claim(more.kind);
      expect(claimed.task.id).toBe(id);
      return claimed;
    }
    const get = async (id: string) => {
      const [[task], [result]] = await Promise.all([store.getMany([id]), store.resultsOf([id])]);
      return task ? { ...task, result } : null;
    };
    const kindsOf = async (id: string) => (await store.events.readAfter(0, 1_000, id)).map(({ kind }) => kind);
    const idsOf = (tasks: readonly Task[]) => tasks.map(({ id }) => id);

    describe.each<[string, (lease: Lease) => Promise<boolean>]>([
      ["heartbeat", (lease) => store.heartbeat(lease, LEASE_MS)],
      ["progress", (lease) => store.progress(lease, 0.5, "half")],
      ["succeed", (lease) => store.succeed(lease, "late")],
      ["fail", (lease) => store.fail(lease, error)],
      ["retry", (lease) => store.retry(lease, error, time)],
      ["release", (lease) => store.release(lease)],
      ["cancelled", (lease) => store.cancelled(lease)],
    ])("%s answers false and changes nothing", (_operation, use) => {
      test("by a lease that was taken over", async () => {
        const lost = await begin();
        time += LEASE_MS;
        const holder = await claim();
        expect(holder.task.id).toBe(lost.task.id);
        const before = { task: await get(lost.task.id), latest: await store.events.latest() };
        expect(await use(lost.lease)).toBe(false);
        expect({ task: await get(lost.task.id), latest: await store.events.latest() }).toEqual(before);
        expect(await store.inspect([lost.lease, holder.lease])).toEqual({ lost: [lost.lease], cancelled: [] });
        expect(await store.succeed(holder.lease, "done")).toBe(true);
        expect(await get(lost.task.id)).toMatchObject({ status: "SUCCEEDED", result: "done", attempts: 2 });
      });

      test("after the task's end, whichever way it ended", async () => {
        for (const end of ["succeed", "fail", "release"] as const) {
          const { lease, task } = await begin();
          await (end === "succeed"
            ? store.succeed(lease, 1)
            : end === "fail"
              ? store.fail(lease, error)
              : store.release(lease));
          const before = await get(task.id);
          expect(await use(lease)).toBe(false);
          expect(await get(task.id)).toEqual(before);
          await store.requestCancel(task.id);
        }
      });
    });

    test("a run ends once, whatever several processes say of it at once", async () => {
      for (let round = 0; round < 5; round += 1) {
        const { lease, task } = await begin();
        const [one, other] = opened.stores;
        const ended = await Promise.all([
          one.succeed(lease, "done"),
          other.fail(lease, error),
          one.cancelled(lease),
          other.succeed(lease, "done too"),
        ]);
        expect(ended.filter((isFirst) => isFirst)).toHaveLength(1);
        const kinds = await kindsOf(task.id);
        expect(kinds.slice(0, 2)).toEqual(["queued", "started"]);
        expect(kinds).toHaveLength(3);
        expect(kinds[2]).toBe((await get(task.id))?.status.toLowerCase());
      }
    });

    test("a task that was claimed ahead and lost counts as an attempt only where it is known to have begun", async () => {
      const claimAhead = async (id: string) => {
        const [claimed] = await store.claim(roomFor("VALIDATION"), LEASE_MS, new Map());
        if (!claimed) throw new Error("There was nothing to claim.");
        expect(claimed.task.id).toBe(id);
        return claimed;
      };
      const attemptsOf = async (id: string) => (await get(id))?.attempts;
      const lose = () => void (time += LEASE_MS);
      const { id: waiting } = await store.insert({ ...NEW, maxAttempts: 1 });
      expect((await claimAhead(waiting)).task.attempts).toBe(1);
      expect(await attemptsOf(waiting)).toBe(0);
      lose();
      // From then on each run counts, so that they have an end.
      const again = await claimAhead(waiting);
      expect(await attemptsOf(waiting)).toBe(1);
      expect(await store.release(again.lease)).toBe(true);
      expect(await store.release((await claimAhead(waiting)).lease)).toBe(true);
      expect(await attemptsOf(waiting)).toBe(0);
      expect(await store.succeed((await claimAhead(waiting)).lease, "done")).toBe(true);
      expect(await get(waiting)).toMatchObject({ status: "SUCCEEDED", attempts: 1, startedAt: time });

      const { id: begun } = await store.insert({ ...NEW, maxAttempts: 1 });
      expect(await store.heartbeat((await claimAhead(begun)).lease, LEASE_MS)).toBe(true);
      expect(await get(begun)).toMatchObject({ attempts: 1, startedAt: time });
      lose();
      expect(await store.claim(roomFor("VALIDATION"), LEASE_MS)).toEqual([]);
      expect(await get(begun)).toMatchObject({ status: "FAILED", attempts: 1 });
    });

    test("a result of the largest size is kept whole", async () => {
      const { lease, task } = await begin();
      expect(await store.succeed(lease, largestResult)).toBe(true);
      expect(await store.resultsOf([task.id])).toEqual([largestResult]);
    });

    testMethods<TaskStore>({
      events() {
        test("have each change of a task, written with it", async () => {
          const { lease, task } = await begin();
          await store.progress(lease, 0.25, "a quarter");
          await store.succeed(lease, null);
          expect(await kindsOf(task.id)).toEqual(["queued", "started", "progress", "succeeded"]);
        });
      },

      transitions() {
        test("count how many came to each status by this store", async () => {
          const before = { ...store.transitions };
          const { lease } = await begin();
          await store.fail(lease, error);
          expect(store.transitions).toMatchObject({
            QUEUED: before.QUEUED + 1,
            RUNNING: before.RUNNING + 1,
            FAILED: before.FAILED + 1,
          });
        });
      },

      insert() {
        test("keeps a task as it is", async () => {
          const { id } = await store.insert({
            kind: "FEASIBILITY",
            input: ODD_JSON,
            requestedById: "user",
            toolId: "tool",
            ownerId: "owner",
            maxAttempts: 7,
          });
          const task = await get(id);
          expect(task).toEqual({
            id,
            kind: "FEASIBILITY",
            status: "QUEUED",
            progress: 0,
            message: null,
            input: ODD_JSON,
            result: null,
            error: null,
            attempts: 0,
            maxAttempts: 7,
            requestedById: "user",
            toolId: "tool",
            ownerId: "owner",
            cancelRequested: false,
            createdAt: time,
            startedAt: null,
            finishedAt: null,
          });
          expect(JSON.stringify(task?.input)).toBe(JSON.stringify(ODD_JSON));
          await store.requestCancel(id);
        });
      },

      getMany() {
        test("answers in the order of the ids, null where there is none", async () => {
          const [one, other] = [await store.insert(NEW), await store.insert(NEW)];
          const found = await store.getMany([other.id, newId(), one.id, other.id, one.id.toUpperCase()]);
          expect(found.map((task) => task?.id ?? null)).toEqual([other.id, null, one.id, other.id, null]);
          expect(await store.getMany([])).toEqual([]);
          for (const { id } of [one, other]) await store.requestCancel(id);
        });
      },

      resultsOf() {
        test("answers in the order that was asked for, null where there is none", async () => {
          const [one, waiting, other] = [
            await begin(),
            await store.insert({ ...NEW, kind: "IMPROVEMENTS" }),
            await begin(),
          ];
          const [first, second] = opened.stores;
          await first.succeed(one.lease, { one: true });
          await second.succeed(other.lease, ["other"]);
          const ids = [other.task.id, waiting.id, "none", one.task.id, other.task.id];
          for (const each of opened.stores)
            expect(await each.resultsOf(ids)).toEqual([["other"], null, null, { one: true }, ["other"]]);
          expect(await store.resultsOf([])).toEqual([]);
          await store.requestCancel(waiting.id);
        });

        test("has what the run that counts ended with, whatever one that was taken over says before and after", async () => {
          const lost = await begin();
          time += LEASE_MS;
          const holder = await claim();
          expect(await store.succeed(lost.lease, "late")).toBe(false);
          expect(await store.succeed(holder.lease, "in time")).toBe(true);
          expect(await store.succeed(lost.lease, "too late")).toBe(false);
          expect(await store.resultsOf([lost.task.id])).toEqual(["in time"]);
        });
      },

      list() {
        test("goes over what was queued in the same millisecond, newest first, each once", async () => {
          const made: Task[] = [];
          for (let n = 0; n < 13; n++)
            made.push(
              await store.insert({ ...NEW, kind: n % 2 === 0 ? "VALIDATION" : "IMPROVEMENTS", toolId: "listed" }),
            );
          for (const { id } of made.slice(0, 5)) await store.requestCancel(id);
          for (const [filter, fits] of [
            [{}, () => true],
            [{ kind: "IMPROVEMENTS" }, (_task, n) => n % 2 === 1],
            [{ status: "CANCELLED" }, (_task, n) => n < 5],
            [{ status: "QUEUED", kind: "VALIDATION" }, (_task, n) => n > 4 && n % 2 === 0],
          ] as [object, (task: Task, n: number) => boolean][]) {
            const wanted = idsOf(made.filter(fits)).toReversed();
            const ofTool = { toolId: "listed", ...filter };
            for (const limit of [1, 4, 13])
              expect(
                idsOf(
                  await everyPage(
                    (page) => store.list(ofTool, page).rows(),
                    ({ id }) => id,
                    limit,
                  ),
                ),
              ).toEqual(wanted);
            expect(await store.list(ofTool, { limit: 1, afterId: wanted[1] ?? null, offset: 2 }).totalCount()).toBe(
              wanted.length,
            );
          }
          expect(await store.list({ toolId: "LISTED" }, FIRST_PAGE).rows()).toEqual([]);
          for (const { id } of made) await store.requestCancel(id);
        });
      },

      pagesOfTools() {
        test("pages the tasks of each tool, newest first, of one kind where one is given", async () => {
          const made: Task[] = [];
          for (let n = 0; n < 6; n++)
            made.push(
              await store.insert({
                ...NEW,
                kind: n % 2 === 0 ? "VALIDATION" : "IMPROVEMENTS",
                toolId: n < 2 ? "pages-1" : "pages-2",
              }),
            );
          const tools = ["pages-2", "nothing", "pages-1"];
          const of = (tool: string, kind: TaskKind | null) =>
            idsOf(made.filter((task) => task.toolId === tool && (kind === null || task.kind === kind))).toReversed();
          for (const kind of [null, "IMPROVEMENTS"] as const) {
            expect((await store.pagesOfTools(tools, kind, FIRST_PAGE)).map(idsOf)).toEqual(
              tools.map((tool) => of(tool, kind)),
            );
            const read = async (page: Page) => (await store.pagesOfTools(tools, kind, page))[0] ?? [];
            expect(idsOf(await everyPage(read, ({ id }) => id, 1))).toEqual(of("pages-2", kind));
          }
          expect(await store.countsOfTools(tools, null)).toEqual([4, 0, 2]);
          for (const { id } of made) await store.requestCancel(id);
        });
      },

      countsOfTools() {
        test("counts in the order of the tools, of one kind where one is given", async () => {
          for (const kind of ["VALIDATION", "IMPROVEMENTS", "VALIDATION"] as const)
            await store.requestCancel((await store.insert({ ...NEW, kind, toolId: "counted" })).id);
          expect(await store.countsOfTools(["nothing", "counted"], null)).toEqual([0, 3]);
          expect(await store.countsOfTools(["counted"], "VALIDATION")).toEqual([2]);
          expect(await store.countsOfTools([], null)).toEqual([]);
        });
      },

      countByStatus() {
        test("counts each status, zeros included", async () => {
          const before = await store.countByStatus();
          expect(Object.keys(before).toSorted()).toEqual(TASK_STATUSES.toSorted());
          const { lease } = await begin();
          expect(await store.countByStatus()).toEqual({ ...before, RUNNING: before.RUNNING + 1 });
          await store.succeed(lease, 1);
        });
      },

      claim() {
        test("gives each task to one of those who ask at once, in any process", async () => {
          const made = [];
          for (let n = 0; n < 6; n++) made.push((await store.insert(NEW)).id);
          const claims = await Promise.all(
            Array.from({ length: 9 }, (_, n) =>
              opened.stores[n % 2 === 0 ? 0 : 1].claim(roomFor("VALIDATION"), LEASE_MS),
            ),
          );
          const taken = claims.flat();
          expect(taken.map(({ task }) => task.id).toSorted()).toEqual(made.toSorted());
          expect(new Set(taken.map(({ lease }) => lease.leaseId)).size).toBe(6);
          for (const { lease } of taken) expect(await store.succeed(lease, null)).toBe(true);
        });

        test("takes only the kinds that it is asked for, the oldest first, one with a lease that ended before", async () => {
          const lapsed = await begin();
          const [first, second] = [await store.insert(NEW), await store.insert(NEW)];
          const { id: another } = await store.insert({ ...NEW, kind: "IMPROVEMENTS" });
          time += LEASE_MS;
          const order = [await claim(), await claim(), await claim()];
          expect(order.map(({ task }) => task.id)).toEqual([lapsed.task.id, first.id, second.id]);
          expect(await store.claim(roomFor("VALIDATION"), LEASE_MS)).toEqual([]);
          expect(await store.claim(new Map(), LEASE_MS)).toEqual([]);
          for (const { lease } of order) await store.succeed(lease, null);
          await store.requestCancel(another);
        });

        test("takes those that a user waits for before those that nobody asked for, each oldest first", async () => {
          const made: string[] = [];
          for (const requestedById of [null, "user-1", null, "user-1"])
            made.push((await store.insert({ ...NEW, requestedById })).id);
          const taken = await store.claim(roomFor("VALIDATION", 3), LEASE_MS);
          expect(taken.map(({ task }) => made.indexOf(task.id))).toEqual([1, 3, 0]);
          taken.push(await claim());
          for (const { lease } of taken) await store.succeed(lease, null);
        });

        test("takes what was queued, or is held, by a clock that was set back since, and nothing whose time comes", async () => {
          const HOUR_MS = 3_600_000;
          const waiting = await begin();
          await store.retry(waiting.lease, error, time + HOUR_MS);
          time += HOUR_MS;
          const held = await begin({ kind: "IMPROVEMENTS" });
          const { id } = await store.insert({ ...NEW, kind: "IMPROVEMENTS" });
          time -= HOUR_MS;
          const taken = [await claim("IMPROVEMENTS"), await claim("IMPROVEMENTS")];
          expect(taken.map(({ task }) => task.id)).toEqual([held.task.id, id]);
          expect(await store.claim(roomFor("IMPROVEMENTS"), LEASE_MS)).toEqual([]);
          expect(await store.claim(roomFor("VALIDATION"), LEASE_MS)).toEqual([]);
          for (const { lease } of taken) expect(await store.succeed(lease, null)).toBe(true);
          await store.requestCancel(waiting.task.id);
        });

        test("gives several at once, of each kind as many as it has room for, among those that ask at once", async () => {
          const made = [];
          for (let n = 0; n < 5; n++) made.push((await store.insert(NEW)).id);
          const other = await store.insert({ ...NEW, kind: "IMPROVEMENTS" });
          const room = new Map<TaskKind, number>([
            ["VALIDATION", 3],
            ["IMPROVEMENTS", 2],
          ]);
          const claims = await Promise.all(opened.stores.map((each) => each.claim(room, LEASE_MS)));
          const taken = claims.flat();
          expect(taken.map(({ task }) => task.id).toSorted()).toEqual([...made, other.id].toSorted());
          for (const each of claims) {
            const ids = each.flatMap(({ task }) => (task.kind === "VALIDATION" ? [task.id] : []));
            expect(ids.length).toBeLessThanOrEqual(3);
            expect(ids).toEqual(ids.toSorted());
          }
          for (const { lease } of taken) expect(await store.succeed(lease, null)).toBe(true);
        });

        test("fails what has no run left, and ends what shall be cancelled, on the way", async () => {
          const spent = await begin({ maxAttempts: 1 });
          const unwanted = await begin();
          await store.requestCancel(unwanted.task.id);
          time += LEASE_MS;
          expect(await store.claim(roomFor("VALIDATION"), LEASE_MS)).toEqual([]);
          expect(await get(spent.task.id)).toMatchObject({ status: "FAILED", finishedAt: time });
          expect(await get(unwanted.task.id)).toMatchObject({ status: "CANCELLED", finishedAt: time });
        });
      },

      nextDueAt() {
        test("answers when the next task of the kinds is due", async () => {
          expect(await store.nextDueAt(["VALIDATION"])).toBeNull();
          const { lease } = await begin();
          expect(await store.nextDueAt(["VALIDATION"])).toBe(time + LEASE_MS);
          expect(await store.nextDueAt(["IMPROVEMENTS"])).toBeNull();
          await store.retry(lease, error, time + 5_000);
          expect(await store.nextDueAt(["IMPROVEMENTS", "VALIDATION"])).toBe(time + 5_000);
          time += 5_000;
          await store.succeed((await claim()).lease, null);
        });
      },

      heartbeat() {
        test("keeps a task for longer", async () => {
          const { lease } = await begin();
          time += LEASE_MS - 1;
          expect(await store.heartbeat(lease, LEASE_MS)).toBe(true);
          time += LEASE_MS - 1;
          expect(await opened.stores[1].claim(roomFor("VALIDATION"), LEASE_MS)).toEqual([]);
          expect(await store.succeed(lease, null)).toBe(true);
        });
      },

      inspect() {
        test("tells which tasks shall be cancelled, and which leases are lost", async () => {
          const [kept, unwanted] = [await begin(), await begin()];
          const lost = { ...kept.lease, leaseId: newId() };
          await opened.stores[1].requestCancel(unwanted.task.id);
          expect(await store.inspect([kept.lease, unwanted.lease, lost])).toEqual({
            cancelled: [unwanted.lease],
            lost: [lost],
          });
          expect(await store.inspect([])).toEqual({ cancelled: [], lost: [] });
          for (const { lease } of [kept, unwanted]) await store.cancelled(lease);
        });
      },

      progress() {
        test("keeps how far it is, and what it says", async () => {
          const { lease, task } = await begin();
          expect(await store.progress(lease, 1 / 3, "\u{1f600} a third")).toBe(true);
          expect(await get(task.id)).toMatchObject({ progress: 1 / 3, message: "\u{1f600} a third" });
          await store.succeed(lease, null);
        });
      },

      succeed() {
        test.each([null, false, 0, "", [], {}, ODD_JSON])("keeps a result as it is (%#)", async (result) => {
          const { lease, task } = await begin();
          expect(await store.succeed(lease, result)).toBe(true);
          const ended = await get(task.id);
          expect(ended).toMatchObject({ status: "SUCCEEDED", progress: 1, finishedAt: time, error: null });
          expect(JSON.stringify(ended?.result)).toBe(JSON.stringify(result));
        });

        test("ends as cancelled what somebody asked to cancel", async () => {
          const { lease, task } = await begin();
          await store.requestCancel(task.id);
          expect(await store.succeed(lease, "done")).toBe(true);
          expect(await get(task.id)).toMatchObject({ status: "CANCELLED", result: null });
        });
      },

      fail() {
        test("keeps the error", async () => {
          const { lease, task } = await begin();
          expect(await store.fail(lease, error)).toBe(true);
          expect(await get(task.id)).toMatchObject({ status: "FAILED", error, result: null, finishedAt: time });
        });
      },

      retry() {
        test("queues it again until a time, as long as it has a run left", async () => {
          const { lease, task } = await begin({ maxAttempts: 2 });
          expect(await store.retry(lease, error, time + 100)).toBe(true);
          expect(await get(task.id)).toMatchObject({ status: "QUEUED", attempts: 1, startedAt: null });
          expect(await store.claim(roomFor("VALIDATION"), LEASE_MS)).toEqual([]);
          time += 100;
          expect(await store.retry((await claim()).lease, error, time)).toBe(true);
          expect(await get(task.id)).toMatchObject({ status: "FAILED", attempts: 2, error });
        });
      },

      release() {
        test("queues it again at once, and does not count the run", async () => {
          const { lease, task } = await begin();
          expect(await store.release(lease)).toBe(true);
          expect(await get(task.id)).toMatchObject({ status: "QUEUED", attempts: 0, startedAt: null });
          await store.requestCancel(task.id);
        });
      },

      cancelled() {
        test("ends a run", async () => {
          const { lease, task } = await begin();
          expect(await store.cancelled(lease)).toBe(true);
          expect(await get(task.id)).toMatchObject({ status: "CANCELLED", finishedAt: time });
        });
      },

      requestCancel() {
        test("ends what waits, marks what runs, ends what lost its lease, and leaves what has ended", async () => {
          const waiting = await store.insert(NEW);
          expect(await store.requestCancel(waiting.id)).toMatchObject({ status: "CANCELLED", finishedAt: time });
          const { task, lease } = await begin();
          expect(await store.requestCancel(task.id)).toMatchObject({ status: "RUNNING", cancelRequested: true });
          await store.cancelled(lease);
          const lapsed = await begin();
          time += LEASE_MS;
          expect(await store.requestCancel(lapsed.task.id)).toMatchObject({ status: "CANCELLED" });
          const ended = await begin();
          await store.succeed(ended.lease, 1);
          const before = await get(ended.task.id);
          expect(await store.requestCancel(ended.task.id)).toMatchObject({ status: "SUCCEEDED" });
          expect(await get(ended.task.id)).toEqual(before);
          expect(await store.requestCancel(newId())).toBeNull();
        });
      },

      trim() {
        test("removes what ended before a time, with its events, and nothing else", async () => {
          const [old, fresh] = [await begin(), await begin()];
          const waiting = await store.insert({ ...NEW, kind: "IMPROVEMENTS" });
          await store.succeed(old.lease, "old");
          time += 10;
          await store.succeed(fresh.lease, "fresh");
          expect(await store.trim(time, { signal: AbortSignal.abort() })).toBe(0);
          expect(await store.trim(time)).toBeGreaterThan(0);
          expect(await store.resultsOf([old.task.id, fresh.task.id])).toEqual([null, "fresh"]);
          expect(await store.getMany([old.task.id, fresh.task.id, waiting.id])).toMatchObject([
            null,
            { status: "SUCCEEDED" },
            { status: "QUEUED" },
          ]);
          expect(await kindsOf(old.task.id)).toEqual([]);
          await store.requestCancel(waiting.id);
        });
      },

      leases() {
        test("are of the store, whichever process takes them", async () => {
          const claim = { now: time, leaseMs: 1_000, unlessRunSince: 0 };
          const taken = await Promise.all(
            opened.stores.map(async ({ leases }, index) => {
              await leases.stateOf("a", time);
              return leases.take("a", { ...claim, runner: String(index) });
            }),
          );
          expect(taken.filter((lease) => lease !== null)).toHaveLength(1);
        });
      },

      ping() {
        test("answers while the store is open", async () => {
          await store.ping();
        });
      },

      close() {
        test("leaves what was written to other processes", async () => {
          const { stores, close } = await open(() => time);
          const { id } = await stores[0].insert(NEW);
          await stores[0].close();
          expect(await stores[1].getMany([id])).toMatchObject([{ id }]);
          await close();
        });
      },
    });
  });
}
