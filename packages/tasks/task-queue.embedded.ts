import { createEventTail, type WakeUpBus } from "@toolyard/events";
import type { Logger } from "@toolyard/service-kit";
import type { TaskKind } from "./task.ts";
import type { TaskHandler, TaskQueue, TaskWorker } from "./task-queue.ts";
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
}

interface Registration {
  kind: TaskKind;
  handler: TaskHandler;
  concurrency: number;
  timeoutMs: number;
  runs: Set<ActiveRun>;
}

/** The queue that needs no server: it runs tasks that are due in the store, in this process. The store's owner closes the store. */
export function createTaskQueue(options: EmbeddedTaskQueueOptions): TaskQueue {
  const { store, bus, logger, now = Date.now, leaseMs = 30_000, pollIntervalMs = 2_000 } = options;
  const { progressIntervalMs = 250, graceMs = 5_000, retryBaseMs = 1_000 } = options;
  const heartbeatIntervalMs = options.heartbeatIntervalMs ?? leaseMs / 3;
  const registrations = new Map<TaskKind, Registration>();
  const tail = createEventTail({ log: store.events, bus, logger });
  let looking: Promise<void> | null = null;
  let again = false;
  let timer: NodeJS.Timeout | null = null;
  let unsubscribe: (() => void) | null = null;

  const idleKinds = () =>
    [...registrations.values()].filter(({ runs, concurrency }) => runs.size < concurrency).map(({ kind }) => kind);

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
  async function takeWhatIsDue(): Promise<number | null> {
    for (;;) {
      const kinds = idleKinds();
      if (kinds.length === 0) return null;
      const dueAt = await store.nextDueAt(kinds);
      if (dueAt === null || dueAt > now()) return dueAt;
      const claimed = await store.claim(kinds, leaseMs);
      if (!claimed) return null;
      await begin(claimed);
    }
  }

  async function begin(claimed: ClaimedTask): Promise<void> {
    const registration = registrations.get(claimed.task.kind);
    if (!registration) {
      // Its worker was closed meanwhile.
      await store.release(claimed.lease);
      return;
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
  }

  return {
    store,
    enqueue: (task) => store.insert(task),
    register(kind, handler, { concurrency = 2, timeoutMs = 600_000 } = {}): TaskWorker {
      if (registrations.has(kind)) throw new Error(`Tasks of kind ${kind} are already run by this queue.`);
      const registration: Registration = { kind, handler, concurrency, timeoutMs, runs: new Set() };
      registrations.set(kind, registration);
      unsubscribe ??= bus.onWake(TASK_WORK_TOPIC, look);
      look();
      return { close: () => closeRegistration(registration) };
    },
    cancel: (id) => store.requestCancel(id),
    follow: (followOptions) => tail.follow(followOptions),
    eventRange: () => tail.range(),
    async close() {
      await Promise.all([...registrations.values()].map(closeRegistration));
      tail.close();
    },
  };
}
