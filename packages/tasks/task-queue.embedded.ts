import { createEventTail, type WakeUpBus } from "@toolyard/events";
import type { Logger } from "@toolyard/service-kit";
import type { TaskKind } from "./task.ts";
import type { TaskHandler, TaskQueue, TaskWorker } from "./task-queue.ts";
import type { TaskDispatcher } from "./task-dispatcher.ts";
import { startRun, type ActiveRun } from "./task-run.ts";
import { TASK_WORK_TOPIC } from "./task-store.sql.ts";
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
  runs: Set<ActiveRun>;
  /** Runs that begin. */
  starting: number;
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
  let looking: Promise<void> | null = null;
  let again = false;
  let timer: NodeJS.Timeout | null = null;
  let unsubscribe: (() => void) | null = null;
  /** Epoch of `performance`; the rows were looked through then. */
  let sweptAt = -Infinity;

  const hasRoom = ({ runs, starting, concurrency }: Registration) => runs.size + starting < concurrency;
  const idleKinds = () => [...registrations.values()].filter(hasRoom).map(({ kind }) => kind);

  /** Handles changes, one at a time. */
  function look(): void {
    if (registrations.size === 0) return;
    if (looking) {
      again = true;
      return;
    }
    looking = lookOnce()
      .catch((error: unknown) => logger.warn({ err: error }, "looking for tasks failed; it is tried again"))
      .then(() => {
        looking = null;
        if (again) look();
      });
  }

  async function lookOnce(): Promise<void> {
    again = false;
    lookIn(pollIntervalMs);
    await endWhatMustEnd();
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

  function lookIn(delayMs: number): void {
    if (timer) clearTimeout(timer);
    timer = setTimeout(look, delayMs);
    timer.unref();
  }

  async function endWhatMustEnd(): Promise<void> {
    const runs = [...registrations.values()].flatMap((registration) => [...registration.runs]);
    if (runs.length === 0) return;
    const byLease = new Map(runs.map((run) => [run.lease, run]));
    const { cancelled, lost } = await store.inspect(runs.map((run) => run.lease));
    for (const lease of cancelled) byLease.get(lease)?.end("cancelled");
    for (const lease of lost) byLease.get(lease)?.end("lost");
  }

  /** Answers when to look again, null when nothing waits. Asks before it claims, since a claim is a write. */
  async function takeWhatIsDue(sinceMs = 0): Promise<number | null> {
    for (;;) {
      const kinds = idleKinds();
      if (kinds.length === 0) return null;
      const dueAt = await store.nextDueAt(kinds);
      if (dueAt === null || dueAt > now() - sinceMs) return dueAt;
      const claimed = await store.claim(kinds, leaseMs);
      if (!claimed) return null;
      await begin(claimed);
    }
  }

  /** What a dispatcher tells of. @returns the milliseconds until it should tell of it again; null: never */
  async function lookAt(registration: Registration, id: string): Promise<number | null> {
    // Runs that began while the dispatcher was away take room of which it does not know.
    if (!hasRoom(registration)) return NO_ROOM_MS;
    registration.starting++;
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
      registration.starting--;
    }
    return run ? run.settled : 0;
  }

  /** Null where its worker was closed meanwhile. */
  async function begin(claimed: ClaimedTask): Promise<ActiveRun | null> {
    const registration = registrations.get(claimed.task.kind);
    if (!registration) {
      await store.release(claimed.lease);
      return null;
    }
    const run = startRun(claimed, {
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
      registration.runs.delete(run);
      look();
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
        starting: 0,
        announced: null,
      };
      registrations.set(kind, registration);
      registration.announced = dispatcher?.work(kind, concurrency, (id) => lookAt(registration, id)) ?? null;
      unsubscribe ??= bus.onWake(TASK_WORK_TOPIC, look);
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
