import { createEventTail, type WakeUpBus } from "@toolyard/events";
import type { Logger } from "@toolyard/service-kit";
import { createOutageLog } from "@toolyard/storage";
import type { TaskKind } from "./task.ts";
import type { TaskHandler, TaskQueue, TaskWorker } from "./task-queue.ts";
import type { TaskDispatcher } from "./task-dispatcher.ts";
import { startRun, type ActiveRun } from "./task-run.ts";
import { TASK_CANCEL_TOPIC, TASK_WORK_TOPIC } from "./task-store.sql.ts";
import type { ClaimedTask, TaskStore } from "./task-store.ts";

export interface EmbeddedTaskQueueOptions {
  store: TaskStore;
  bus: WakeUpBus;
  logger: Logger;
  now?: () => number;
  /** How long a dead process's task waits until it is taken up again. */
  leaseMs?: number;
  heartbeatIntervalMs?: number;
  /** Looks without being woken this often: for other processes' tasks, cancellations and ended leases. */
  pollIntervalMs?: number;
  progressIntervalMs?: number;
  /** How long a handler may take to let go once its signal aborts. */
  graceMs?: number;
  /** Delay before the second attempt; doubled for each further one. */
  retryBaseMs?: number;
  /** Tells this process which tasks to look at, while it is there: the rows are then looked through only as often as `sweepIntervalMs` says. */
  dispatcher?: TaskDispatcher;
  sweepIntervalMs?: number;
  /** A sweep takes tasks that have been due for so long. */
  overdueMs?: number;
}

interface Registration {
  kind: TaskKind;
  handler: TaskHandler;
  concurrency: number;
  timeoutMs: number;
  /** Those whose outcome is not written yet. */
  runs: Set<ActiveRun>;
  /** Handlers that work, and those of runs that begin. */
  working: number;
  announced: { close(): Promise<void> } | null;
}

/** The longest that a task waits which came to a process that has no room for it. */
const NO_ROOM_MS = 1_000;

/**
 * The queue that needs no server: it runs tasks that are due in the store, in this process. With a dispatcher it is told of them, and
 * finds those of which nobody was told. The store's owner closes the store.
 */
export function createTaskQueue(options: EmbeddedTaskQueueOptions): TaskQueue {
  const { store, bus, logger, now = Date.now, leaseMs = 30_000, pollIntervalMs = 2_000 } = options;
  const { progressIntervalMs = 250, graceMs = 5_000, retryBaseMs = 1_000 } = options;
  const { dispatcher = null, sweepIntervalMs = 15_000, overdueMs = 10_000 } = options;
  const heartbeatIntervalMs = options.heartbeatIntervalMs ?? leaseMs / 3;
  const registrations = new Map<TaskKind, Registration>();
  const tail = createEventTail({ log: store.events, bus, logger });
  const outages = createOutageLog({ what: "looking for tasks", logger });
  let looking: Promise<void> | null = null;
  let again = false;
  let wantsInspection = false;
  /** By `performance.now()`, as `sweptAt`. */
  let inspectedAt = -Infinity;
  /** The last claim found as much as it had room for. */
  let moreIsLikely = false;
  let timer: NodeJS.Timeout | null = null;
  let unsubscribe: (() => void) | null = null;
  let sweptAt = -Infinity;

  /** Where outcomes cannot be written just now, their runs are in the way of others. */
  const roomOf = ({ working, concurrency, runs }: Registration) =>
    Math.max(0, Math.min(concurrency - working, 2 * concurrency - runs.size));
  const hasRoom = (registration: Registration) => roomOf(registration) > 0;
  const idle = () => [...registrations.values()].filter(hasRoom);

  /** Handles changes, one at a time. */
  function look(): void {
    if (registrations.size === 0) return;
    if (looking) {
      again = true;
      return;
    }
    looking = lookOnce()
      .then(outages.works, outages.failed)
      .then(() => {
        looking = null;
        if (again) look();
      });
  }

  async function lookOnce(): Promise<void> {
    again = false;
    lookIn(pollIntervalMs);
    if (wantsInspection || performance.now() - inspectedAt >= pollIntervalMs) {
      wantsInspection = false;
      inspectedAt = performance.now();
      await endWhatMustEnd();
    }
    if (dispatcher && !dispatcher.isAway) {
      if (performance.now() - sweptAt < sweepIntervalMs) return;
      sweptAt = performance.now();
      await takeWhatIsDue(overdueMs);
      return;
    }
    // What is queued meanwhile, nobody is told of.
    sweptAt = -Infinity;
    const dueAt = await takeWhatIsDue();
    if (dueAt !== null && dueAt - now() < pollIntervalMs) lookIn(Math.max(1, dueAt - now()));
  }

  function onWake(): () => void {
    const ends = [bus.onWake(TASK_WORK_TOPIC, look), bus.onWake(TASK_CANCEL_TOPIC, lookAtAll)];
    return () => ends.forEach((end) => end());
  }

  function lookIn(delayMs: number): void {
    if (timer) clearTimeout(timer);
    timer = setTimeout(lookAtAll, delayMs);
    timer.unref();
  }

  /** Also at what runs: whether it is still to run. */
  function lookAtAll(): void {
    wantsInspection = true;
    look();
  }

  async function endWhatMustEnd(): Promise<void> {
    const runs = [...registrations.values()].flatMap((registration) => [...registration.runs]);
    if (runs.length === 0) return;
    const byLease = new Map(runs.map((run) => [run.lease, run]));
    const { cancelled, lost } = await store.inspect(runs.map((run) => run.lease));
    for (const lease of cancelled) byLease.get(lease)?.end("cancelled");
    for (const lease of lost) byLease.get(lease)?.end("lost");
  }

  /**
   * Takes what has been due for `sinceMs`, as much as there is room for. Answers when to look again, null when nothing waits. Unless more is
   * likely, it asks before it claims, since a claim is a write.
   */
  async function takeWhatIsDue(sinceMs = 0): Promise<number | null> {
    for (;;) {
      const free = idle();
      if (free.length === 0) return null;
      const dueBy = now() - sinceMs;
      const dueAt = moreIsLikely ? dueBy : await store.nextDueAt(free.map(({ kind }) => kind));
      if (dueAt === null || dueAt > dueBy) return dueAt;
      await claimFor(free.filter(hasRoom), dueBy);
    }
  }

  async function claimFor(free: readonly Registration[], dueBy: number): Promise<void> {
    const room = new Map(free.map((registration) => [registration.kind, roomOf(registration)]));
    const take = (sign: 1 | -1) => free.forEach((each) => (each.working += sign * (room.get(each.kind) ?? 0)));
    take(1);
    let claimed: ClaimedTask[];
    try {
      claimed = await store.claim(room, leaseMs, dueBy);
    } finally {
      take(-1);
    }
    moreIsLikely = claimed.length > 0 && claimed.length === room.values().reduce((sum, count) => sum + count, 0);
    await Promise.all(claimed.map(begin));
  }

  /** What a dispatcher tells of. @returns the milliseconds until it should tell of it again; null: never */
  async function lookAt(registration: Registration, id: string): Promise<number | null> {
    // Runs that began while the dispatcher was away take room of which it does not know.
    if (!hasRoom(registration)) return NO_ROOM_MS;
    registration.working++;
    let run: ActiveRun | null;
    try {
      const taken = await store.take(id, leaseMs);
      if (taken === null) return null;
      if ("dueAt" in taken) return Math.max(0, taken.dueAt - now());
      run = await begin(taken);
    } catch (error) {
      logger.warn({ err: error, task_id: id }, "looking at a task failed; it is tried again");
      return pollIntervalMs;
    } finally {
      registration.working--;
    }
    return run ? run.lookAgainMs : 0;
  }

  /** Null where its worker was closed meanwhile. */
  async function begin(claimed: ClaimedTask): Promise<ActiveRun | null> {
    const registration = registrations.get(claimed.task.kind);
    if (!registration) {
      await store.release(claimed.lease);
      return null;
    }
    registration.working++;
    const run = startRun(claimed, {
      handled() {
        registration.working--;
        look();
      },
      store,
      logger,
      now,
      leaseMs,
      heartbeatIntervalMs,
      progressIntervalMs,
      graceMs,
      retryBaseMs,
      handler: registration.handler,
      timeoutMs: registration.timeoutMs,
    });
    registration.runs.add(run);
    void run.settled.then(() => {
      const had = hasRoom(registration);
      registration.runs.delete(run);
      if (!had) look();
    });
    return run;
  }

  async function closeRegistration(registration: Registration): Promise<void> {
    if (registrations.get(registration.kind) === registration) registrations.delete(registration.kind);
    await looking;
    if (registrations.size === 0) {
      unsubscribe?.();
      if (timer) clearTimeout(timer);
      unsubscribe = timer = null;
    }
    const runs = [...registration.runs];
    for (const run of runs) run.end("shutdown");
    await Promise.all(runs.map((run) => run.settled));
    await registration.announced?.close();
  }

  return {
    store,
    async enqueue(task) {
      const inserted = await store.insert(task);
      dispatcher?.announce(inserted);
      return inserted;
    },
    register(kind, handler, { concurrency = 2, timeoutMs = 600_000 } = {}): TaskWorker {
      if (registrations.has(kind)) throw new Error(`Tasks of kind ${kind} are already run by this queue.`);
      const registration: Registration = {
        kind,
        handler,
        concurrency,
        timeoutMs,
        runs: new Set(),
        working: 0,
        announced: null,
      };
      registrations.set(kind, registration);
      registration.announced = dispatcher?.work(kind, concurrency, (id) => lookAt(registration, id)) ?? null;
      unsubscribe ??= onWake();
      look();
      return { close: () => closeRegistration(registration) };
    },
    cancel: (id) => store.requestCancel(id),
    follow: (followOptions) => tail.follow(followOptions),
    eventRange: () => tail.range(),
    async close() {
      await Promise.all([...registrations.values()].map(closeRegistration));
      await dispatcher?.close();
      tail.close();
    },
  };
}
