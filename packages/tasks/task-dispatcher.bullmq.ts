import type { RedisConnection } from "@toolyard/redis";
import { DelayedError, Queue, Worker } from "bullmq";
import type { TaskDispatcher } from "./task-dispatcher.ts";
import type { TaskKind } from "./task.ts";

/** BullMQ's own record of what happened, which nothing here reads. */
const MAX_EVENTS = 100;
/** How long a worker may take to give its jobs back. */
const CLOSE_MS = 2_000;
const MAX_UNTOLD = 10_000;
/** A job without a priority goes before all that have one (https://docs.bullmq.io/guide/jobs/prioritized). */
const BEHIND_OTHERS = 1;

type Announced = Parameters<TaskDispatcher["announce"]>[0];

/**
 * Hands tasks out by BullMQ, a queue for each kind: a job is a task's id. Jobs of a process that died are handed out again after `lockMs`.
 * https://docs.bullmq.io/guide/workers/stalled-jobs
 */
export function createBullDispatcher(options: { redis: RedisConnection; lockMs?: number }): TaskDispatcher {
  const { redis, lockMs = 30_000 } = options;
  const shared = { prefix: `${redis.keyPrefix}:tasks`, skipVersionCheck: true };
  const queues = new Map<TaskKind, Queue>();
  /** Tasks of which nobody was told, by id. Sweeps find those that are too many. */
  const untold = new Map<string, Announced>();
  const announced: Announced[] = [];

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

  /** Tasks that were queued together are one request. */
  function announce(task: Announced): void {
    announced.push(task);
    if (announced.length === 1) setImmediate(tell);
  }

  function tell(): void {
    for (const [kind, tasks] of Map.groupBy(announced.splice(0), (task) => task.kind)) {
      const notTold = () => tasks.forEach((task) => untold.size < MAX_UNTOLD && untold.set(task.id, task));
      if (redis.isAway) notTold();
      else
        queueOf(kind)
          .addBulk(tasks.map(jobOf))
          .catch((error: unknown) => {
            redis.failed(error);
            notTold();
          });
    }
  }

  const unsubscribe = redis.onReady(() => {
    const all = [...untold.values()];
    untold.clear();
    all.forEach(announce);
  });

  return {
    get isAway() {
      return redis.isAway;
    },
    announce: ({ id, kind, requestedById }) => announce({ id, kind, requestedById }),
    work(kind, concurrency, look) {
      const connection = redis.patient();
      const worker = new Worker<null, void>(
        nameOf(kind),
        async (job, token) => {
          // Every job is added with one.
          const againMs = await look(job.id as string);
          if (againMs === null) return;
          await job.moveToDelayed(Date.now() + againMs, token);
          throw new DelayedError();
        },
        {
          ...shared,
          connection,
          concurrency,
          lockDuration: lockMs,
          stalledInterval: lockMs,
          // The rows count the attempts.
          maxStalledCount: Number.MAX_SAFE_INTEGER,
        },
      );
      worker.on("error", redis.failed);
      return {
        async close() {
          const deadline = Promise.withResolvers<void>();
          const timer = setTimeout(deadline.resolve, CLOSE_MS);
          await Promise.race([worker.close(redis.isAway), deadline.promise]);
          clearTimeout(timer);
          connection.disconnect();
        },
      };
    },
    async close() {
      tell();
      unsubscribe();
      for (const queue of queues.values()) await queue.close();
    },
  };
}

const nameOf = (kind: TaskKind) => kind.toLowerCase();

function jobOf({ id, requestedById }: Announced) {
  return { name: "look", data: null, opts: { jobId: id, ...(requestedById === null && { priority: BEHIND_OTHERS }) } };
}
