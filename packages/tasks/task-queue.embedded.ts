import { createEventTail, type WakeUpBus } from "@toolyard/events";
import type { Logger } from "@toolyard/service-kit";
import { createOutageLog } from "@toolyard/storage";
import { createClaimPace, type ClaimPace } from "./claim-ahead.ts";
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
}

interface Registration {
  kind: TaskKind;
  handler: TaskHandler;
  concurrency: number;
  timeoutMs: number;
  pace: ClaimPace;
  /** Claimed ahead, and not begun. */
  ready: ClaimedTask[];
  readyTimer: NodeJS.Timeout | null;
  /** Those whose outcome is not written yet. */
  runs: Set<ActiveRun>;
  /** Handlers that work. */
  working: number;
  /** Whether there may be tasks that are due. Where it is likely they are claimed unasked; else they are asked for first, since a claim is a write. */
  due: "none" | "maybe" | "likely";
  /** Resolves when none is due; for the dispatcher, whose hint others have not heard. */
  drained: PromiseWithResolvers<void> | null;
  /** Another process was told that there is more than this one has room for. */
  passedOn: boolean;
  announced: { close(): Promise<void> } | null;
}

/** The longest that a task waits which was claimed ahead; others have it then. */
const READY_MS = 250;

/**
 * The queue that needs no server: it runs tasks that are due in the store, in this process. With a dispatcher it is told of them, and
 * finds those of which nobody was told. The store's owner closes the store.
 */
export function createTaskQueue(options: EmbeddedTaskQueueOptions): TaskQueue {
  const { store, bus, logger, now = Date.now, leaseMs = 30_000, pollIntervalMs = 2_000 } = options;
  const { progressIntervalMs = 250, graceMs = 5_000, retryBaseMs = 1_000 } = options;
  const { dispatcher = null, sweepIntervalMs = 15_000 } = options;
  const heartbeatIntervalMs = options.heartbeatIntervalMs ?? leaseMs / 3;
  const registrations = new Map<TaskKind, Registration>();
  const tail = createEventTail({ log: store.events, bus, logger });
  const outages = createOutageLog({ what: "looking for tasks", logger });
  let looking: Promise<void> | null = null;
  let again = false;
  let wantsInspection = false;
  let wantsLook = false;
  /** By `performance.now()`, as `sweepAt`. */
  let inspectedAt = -Infinity;
  let sweepAt = 0;
  let timer: NodeJS.Timeout | null = null;
  let unsubscribe: (() => void) | null = null;

  /** Where outcomes cannot be written just now, their runs are in the way of others. */
  const mayBegin = ({ working, concurrency, runs, pace }: Registration) =>
    working < concurrency && runs.size < 2 * concurrency + pace.ahead();
  const roomOf = ({ working, concurrency, pace, ready }: Registration) =>
    concurrency + pace.ahead() - working - ready.length;
  /** Those claimed ahead are claimed many at a time. */
  const hasRoom = (registration: Registration) =>
    2 * registration.ready.length <= registration.pace.ahead() && roomOf(registration) > 0 && mayBegin(registration);

  const mayBeDue = (registration: Registration) => void (registration.due === "none" && (registration.due = "maybe"));

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
    const isTold = dispatcher !== null && !dispatcher.isAway;
    if (wantsLook && (!isTold || performance.now() >= sweepAt)) {
      sweepAt = performance.now() + sweepIntervalMs;
      registrations.forEach(mayBeDue);
    }
    wantsLook = false;
    // What is queued meanwhile, nobody is told of.
    if (!isTold) sweepAt = 0;
    const dueAt = await takeWhatIsDue();
    if (dueAt === null) return;
    const inMs = Math.max(1, dueAt - now());
    sweepAt = Math.min(sweepAt, performance.now() + inMs - 1);
    if (inMs < pollIntervalMs) lookIn(inMs);
  }

  function onWake(): () => void {
    const ends = [bus.onWake(TASK_WORK_TOPIC, lookForAll), bus.onWake(TASK_CANCEL_TOPIC, lookAtAll)];
    return () => ends.forEach((end) => end());
  }

  function lookForAll(): void {
    wantsLook = true;
    look();
  }

  function lookIn(delayMs: number): void {
    if (timer) clearTimeout(timer);
    timer = setTimeout(lookAtAll, delayMs);
    timer.unref();
  }

  /** Also at what runs: whether it is still to run. */
  function lookAtAll(): void {
    wantsInspection = true;
    lookForAll();
  }

  async function endWhatMustEnd(): Promise<void> {
    const all = [...registrations.values()];
    const runs = new Map(all.flatMap((registration) => [...registration.runs].map((run) => [run.lease, run] as const)));
    const ready = all.flatMap((registration) => registration.ready.map(({ lease }) => lease));
    if (runs.size + ready.length === 0) return;
    const { cancelled, lost } = await store.inspect([...runs.keys(), ...ready]);
    for (const lease of lost) runs.get(lease)?.end("lost");
    for (const lease of cancelled) runs.get(lease)?.end("cancelled");
    const ended = new Set([...lost, ...cancelled]);
    for (const registration of all) await giveBack(registration, ({ lease }) => ended.has(lease));
  }

  /**
   * Takes what is due, as much as there is room for. Answers when to look again; null when nothing waits, or there is no room to run it.
   */
  async function takeWhatIsDue(): Promise<number | null> {
    for (;;) {
      const free = [...registrations.values()].filter((each) => each.due !== "none" && hasRoom(each));
      if (free.length === 0) return null;
      const isLikely = free.some(({ due }) => due === "likely");
      // Unless it is said again meanwhile.
      for (const each of free) each.due = "none";
      try {
        const dueAt = isLikely ? null : await store.nextDueAt(free.map(({ kind }) => kind));
        if (isLikely || (dueAt !== null && dueAt <= now())) await claimFor(free.filter(hasRoom));
        else {
          for (const { due, drained } of free) if (due === "none") drained?.resolve();
          return dueAt;
        }
      } catch (error) {
        free.forEach(mayBeDue);
        throw error;
      }
    }
  }

  async function claimFor(free: readonly Registration[]): Promise<void> {
    const room = new Map(free.map((registration) => [registration.kind, roomOf(registration)]));
    const began = performance.now();
    const atOnce = new Map(
      free.map(({ kind, concurrency, working, ready }) => [kind, Math.max(0, concurrency - working - ready.length)]),
    );
    const claimed = await store.claim(room, leaseMs, atOnce);
    const tookMs = performance.now() - began;
    const byKind = Map.groupBy(claimed, ({ task }) => task.kind);
    for (const registration of free) {
      const { kind, pace } = registration;
      const tasks = byKind.get(kind) ?? [];
      const isFull = tasks.length === room.get(kind);
      if (isFull) registration.due = "likely";
      else mayBeDue(registration);
      if (tasks.length > 0) pace.claimed(tookMs);
      registration.ready.push(...tasks);
      if (registrations.get(kind) !== registration) await giveBack(registration);
      else beginReady(registration);
      if (isFull && !registration.passedOn) dispatcher?.announce(kind);
      registration.passedOn = isFull;
    }
  }

  /** What the dispatcher tells of. */
  async function lookAt(registration: Registration): Promise<void> {
    if (registrations.get(registration.kind) !== registration) return dispatcher?.announce(registration.kind);
    registration.due = "likely";
    registration.drained = Promise.withResolvers();
    look();
    await registration.drained.promise;
  }

  function beginReady(registration: Registration): void {
    while (mayBegin(registration)) {
      const claimed = registration.ready.shift();
      if (!claimed) return;
      begin(registration, claimed);
    }
    const [first] = registration.ready;
    if (!first || registration.readyTimer) return;
    registration.readyTimer = setTimeout(() => {
      registration.readyTimer = null;
      if (registration.ready.includes(first)) {
        registration.pace.stuck();
        void giveBack(registration);
      } else beginReady(registration);
    }, READY_MS);
    registration.readyTimer.unref();
  }

  /** Of what was claimed ahead. */
  async function giveBack(registration: Registration, which: (claimed: ClaimedTask) => boolean = () => true) {
    const given = registration.ready.filter(which);
    if (given.length === 0) return;
    registration.ready = registration.ready.filter((claimed) => !given.includes(claimed));
    try {
      await Promise.all(given.map(({ lease }) => store.release(lease)));
      mayBeDue(registration);
      dispatcher?.announce(registration.kind);
    } catch (error) {
      logger.warn(
        { err: error, task_kind: registration.kind },
        "giving tasks back that were claimed ahead failed; they run when their leases end",
      );
    }
  }

  function begin(registration: Registration, claimed: ClaimedTask): void {
    const { kind, pace, runs } = registration;
    registration.working++;
    const began = performance.now();
    const run = startRun(claimed, {
      handled() {
        registration.working--;
        pace.handled(performance.now() - began);
        goOn(registration);
      },
      mayWaitMs: () => (registration.ready.length > 0 ? pace.resultsWaitMs() : 0),
      queuedAgain: (inMs) => dispatcher?.announce(kind, inMs),
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
    runs.add(run);
    void run.settled.then(() => {
      runs.delete(run);
      goOn(registration);
    });
  }

  function goOn(registration: Registration): void {
    if (registrations.get(registration.kind) !== registration) return;
    beginReady(registration);
    if (registration.due !== "none" && hasRoom(registration)) look();
  }

  async function closeRegistration(registration: Registration): Promise<void> {
    if (registrations.get(registration.kind) === registration) registrations.delete(registration.kind);
    registration.drained?.resolve();
    // First, so that it is told of nothing that others could do meanwhile.
    await Promise.all([registration.announced?.close(), endRegistration(registration)]);
  }

  async function endRegistration(registration: Registration): Promise<void> {
    await looking;
    if (registrations.size === 0) {
      unsubscribe?.();
      if (timer) clearTimeout(timer);
      unsubscribe = timer = null;
    }
    if (registration.readyTimer) clearTimeout(registration.readyTimer);
    const runs = [...registration.runs];
    for (const run of runs) run.end("shutdown");
    await Promise.all([giveBack(registration), ...runs.map((run) => run.settled)]);
    if (registration.due !== "none") dispatcher?.announce(registration.kind);
  }

  return {
    store,
    async enqueue(task) {
      const inserted = await store.insert(task);
      dispatcher?.announce(inserted.kind);
      return inserted;
    },
    register(kind, handler, { concurrency = 2, timeoutMs = 600_000 } = {}): TaskWorker {
      if (registrations.has(kind)) throw new Error(`Tasks of kind ${kind} are already run by this queue.`);
      const registration: Registration = {
        kind,
        handler,
        concurrency,
        timeoutMs,
        pace: createClaimPace(concurrency),
        ready: [],
        readyTimer: null,
        runs: new Set(),
        working: 0,
        due: "maybe",
        drained: null,
        passedOn: false,
        announced: null,
      };
      registrations.set(kind, registration);
      registration.announced = dispatcher?.work(kind, () => lookAt(registration)) ?? null;
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
