import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInProcessBus } from "@toolyard/events";
import type { RedisConnection } from "@toolyard/redis";
import { createLogger } from "@toolyard/service-kit";
import { eventually } from "@toolyard/testing/eventually.ts";
import { createBullDispatcher } from "./task-dispatcher.bullmq.ts";
import { LEASE_MS, RETRY_BASE_MS, type TaskQueueFixture } from "./task-queue.contract.ts";
import { createTaskQueue } from "./task-queue.embedded.ts";
import type { TaskQueue } from "./task-queue.ts";
import { TASK_CANCEL_TOPIC, TASK_WORK_TOPIC, createTaskStore } from "./task-store.sql.ts";
import type { TaskStore } from "./task-store.ts";

const logger = createLogger({ level: "silent", name: "test" });

interface RedisOfFixture {
  connect: () => Promise<RedisConnection>;
  /** Arguments of a process that uses the same. */
  address: readonly string[];
}

/** Queues on one store, each as another process has it; handed tasks out by BullMQ where there is a Redis. */
export async function withTaskQueues(
  run: (fixture: TaskQueueFixture) => Promise<void>,
  redis: RedisOfFixture | null = null,
): Promise<void> {
  const dataDir = await mkdtemp(join(tmpdir(), "toolyard-tasks-"));
  const closers: (() => Promise<void>)[] = [];
  const children: ChildProcess[] = [];
  const buses = new Set<ReturnType<typeof createInProcessBus>>();
  /** How often each queue that works has read what there is to do: once or twice in a look. */
  const reads = new Map<TaskQueue, number>();
  /** Due times of tasks of which BullMQ tells: sweeps leave them to it. */
  const told = new Set<number>();
  let offset = 0;
  const start = Date.now();
  const now = () => start + offset;
  const wake = () => {
    for (const bus of buses) for (const topic of [TASK_WORK_TOPIC, TASK_CANCEL_TOPIC]) bus.wake(topic);
  };
  try {
    await run({
      async open({ heartbeats = true, graceMs = 1_000 } = {}) {
        // A bus of its own: what another process does is found by looking.
        const bus = createInProcessBus();
        buses.add(bus);
        const store = await createTaskStore({ dataDir, bus, now });
        const count = () => reads.set(opened, (reads.get(opened) ?? 0) + 1);
        const counted: TaskStore = {
          ...store,
          inspect: (leases) => (count(), store.inspect(leases)),
          async nextDueAt(kinds) {
            count();
            const dueAt = await store.nextDueAt(kinds);
            return dueAt !== null && told.has(dueAt) ? null : dueAt;
          },
        };
        if (redis) told.add(now());
        const dispatcher = redis && createBullDispatcher({ redis: await redis.connect() });
        const queue = createTaskQueue({
          store: counted,
          bus,
          logger,
          now,
          graceMs,
          leaseMs: LEASE_MS,
          retryBaseMs: RETRY_BASE_MS,
          heartbeatIntervalMs: heartbeats ? 10 : 3_600_000,
          pollIntervalMs: 25,
          progressIntervalMs: 50,
          ...(dispatcher && { dispatcher, sweepIntervalMs: 0 }),
        });
        let closed = false;
        const close = async () => {
          if (closed) return;
          closed = true;
          reads.delete(opened);
          await queue.close();
          await store.close();
        };
        closers.push(close);
        const opened: TaskQueue = {
          ...queue,
          register(...args) {
            reads.set(opened, 0);
            return queue.register(...args);
          },
          close,
        };
        return opened;
      },
      advance(ms) {
        offset += ms;
        wake();
      },
      async looked() {
        const before = new Map(reads);
        // Of three looks the first may have begun earlier, and where the third has begun the second has ended.
        await eventually("a look", () => {
          wake();
          return [...before].every(([queue, count]) => (reads.get(queue) ?? Infinity) >= count + 6);
        });
      },
      startWorkerProcess() {
        const file = join(import.meta.dirname, "fixtures", "worker-process.ts");
        const child = spawn(process.execPath, [file, dataDir, ...(redis?.address ?? [])], {
          stdio: ["pipe", "pipe", "inherit"],
        });
        children.push(child);
        return child;
      },
    });
  } finally {
    for (const child of children) child.kill("SIGKILL");
    for (const close of closers) await close();
    await rm(dataDir, { recursive: true, force: true });
  }
}
