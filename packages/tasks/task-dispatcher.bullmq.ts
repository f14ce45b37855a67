import type { RedisConnection } from "@toolyard/redis";
import { Queue, Worker } from "bullmq";
import type { TaskDispatcher } from "./task-dispatcher.ts";
import type { TaskKind } from "./task.ts";

/** BullMQ's own record of what happened, which nothing here reads. */
const MAX_EVENTS = 100;
/** How long a worker may take to give its job back. */
const CLOSE_MS = 2_000;
/** There is one job that waits, however many tasks are due. https://docs.bullmq.io/guide/jobs/deduplication */
const ONCE = { deduplication: { id: "due" } };

/**
 * Tells of tasks by BullMQ, by a queue for each kind: a job says "look". A process that is told claims what it has room for, tells the next one where that
 * was not all, and keeps its job until nothing is due. The job of a process that died is handed to another one after `lockMs`.
 * https://docs.bullmq.io/guide/workers/stalled-jobs
 */
export function createBullDispatcher(options: { redis: RedisConnection; lockMs?: number }): TaskDispatcher {
  const { redis, lockMs = 30_000 } = options;
  const shared = { prefix: `${redis.keyPrefix}:tasks`, skipVersionCheck: true };
  const queues = new Map<TaskKind, Queue>();
  /** Kinds of which nobody was told. */
  const untold = new Set<TaskKind>();
  /** Kinds whose job is on its way, and whether there was more to tell since. */
  const underWay = new Map<TaskKind, boolean>();
  const adding = new Set<Promise<void>>();

  function queueOf(kind: TaskKind): Queue {
    const known = queues.get(kind);
    if (known) return known;
    const queue = new Queue(nameOf(kind), {
      ...shared,
      connection: redis.client,
      streams: { events: { maxLen: MAX_EVENTS } },
      defaultJobOptions: { removeOnComplete: true, removeOnFail: true },
    });
    queue.on("error", redis.failed);
    queues.set(kind, queue);
    return queue;
  }

  function tell(kind: TaskKind): void {
    if (redis.isAway) untold.add(kind);
    else if (underWay.has(kind)) underWay.set(kind, true);
    else {
      underWay.set(kind, false);
      add(kind, ONCE, () => {
        const again = underWay.get(kind);
        underWay.delete(kind);
        if (again) tell(kind);
      });
    }
  }

  function add(kind: TaskKind, how: { delay: number } | typeof ONCE, then?: () => void): void {
    const added = queueOf(kind)
      .add("look", null, how)
      .then(
        () => then?.(),
        (error: unknown) => {
          redis.failed(error);
          untold.add(kind);
          then?.();
        },
      );
    adding.add(added);
    void added.then(() => adding.delete(added));
  }

  const unsubscribe = redis.onReady(() => {
    const kinds = [...untold];
    untold.clear();
    kinds.forEach(tell);
  });

  return {
    get isAway() {
      return redis.isAway;
    },
    announce(kind, inMs = 0) {
      if (inMs <= 0) tell(kind);
      // Else sweeps know when it is due.
      else if (!redis.isAway) add(kind, { delay: inMs });
    },
    work(kind, look) {
      const connection = redis.patient();
      const worker = new Worker<null, void>(
        nameOf(kind),
        async (job) => {
          // What is due from now on is told of by a job of its own.
          await job.removeDeduplicationKey().catch(redis.failed);
          await look();
        },
        {
          ...shared,
          connection,
          lockDuration: lockMs,
          stalledInterval: lockMs,
          maxStalledCount: Number.MAX_SAFE_INTEGER,
        },
      );
      worker.on("error", redis.failed);
      return {
        async close() {
          await atMost(CLOSE_MS, worker.close(redis.isAway));
          connection.disconnect();
        },
      };
    },
    async close() {
      unsubscribe();
      await atMost(CLOSE_MS, Promise.all(adding));
      for (const queue of queues.values()) await queue.close();
    },
  };
}

/** Waits for work that may not end while Redis is held. */
async function atMost(ms: number, work: Promise<unknown>): Promise<void> {
  const deadline = Promise.withResolvers<void>();
  const timer = setTimeout(deadline.resolve, ms);
  await Promise.race([work, deadline.promise]);
  clearTimeout(timer);
}

const nameOf = (kind: TaskKind) => kind.toLowerCase();
