import { fork, type ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Logger } from "@toolyard/service-kit";
import { compileCacheEnvironment } from "@toolyard/service-kit/process/compile-cache.ts";
import type { PlannerCommand, PlannerKind, PlannerReply } from "./planner-process.ts";
import type { QueryPlan } from "./query-plan.ts";
import type { PlanRequest } from "./query-planner.ts";

export type PlannerOutcome =
  /** `fault` describes the rehearsal's objection; null when there is none. */
  | { kind: "planned"; plan: QueryPlan; fault: string | null }
  /** The planner refused; `reason` is its own message. */
  | { kind: "refused"; reason: string }
  /** The operation ended the planner's process, or took longer than it may. */
  | { kind: "died" | "late" }
  /** The planner does not start here, or too many operations wait for it. */
  | { kind: "unavailable" | "full" };

export interface PlannerPoolOptions {
  planner: PlannerKind;
  supergraphSdl: string;
  planTimeoutMs: number;
  /** Starts a process before there is an operation, so that the first need not wait for it. */
  isEager?: boolean;
  /** How many operations may wait. */
  maxWaiting?: number;
  /** How long an operation waits behind others before another process is started for it. */
  patienceMs?: number;
  /** How long a process may be idle. */
  idleMs?: number;
  log?: Pick<Logger, "warn"> | undefined;
}

/**
 * A planner in processes of its own, so that an operation that harms it harms nobody else. A process starts at the first
 * operation, plans one operation at a time (so it is known which one ended it), and is replaced when it dies. Those with
 * idle processes end, except the last of an eager pool.
 */
export interface PlannerPool {
  /**
   * Never rejects.
   * @param isStepwise whether the planner is left out, and the process plans by itself
   */
  plan(request: PlanRequest, isStepwise?: boolean): Promise<PlannerOutcome>;
  close(): Promise<void>;
}

interface Job {
  request: PlanRequest;
  isStepwise: boolean;
  resolve(outcome: PlannerOutcome): void;
}

interface Worker {
  child: ChildProcess;
  state: "starting" | "idle" | "busy";
  job: Job | null;
  timer: NodeJS.Timeout | undefined;
  exited: Promise<void>;
}

const MAX_HEAP_MB = 512;
/** A second process starts when operations wait behind a long one. */
const MAX_PROCESSES = 2;
const START_TIMEOUT_MS = 15_000;
/** How long a planner that failed to start is left alone. */
const REST_AFTER_FAILED_START_MS = 30_000;
/** Of a plan that is made step by step: there is no other planner then. */
const STEPWISE_TIMEOUT_MS = 10_000;

export function createPlannerPool(options: PlannerPoolOptions): PlannerPool {
  const { planner, supergraphSdl, planTimeoutMs, log } = options;
  const { maxWaiting = 256, patienceMs = 25, idleMs = 30_000 } = options;
  const workers = new Set<Worker>();
  const waiting: Job[] = [];
  let impatience: NodeJS.Timeout | undefined;
  let restUntil = 0;
  let isClosed = false;

  function start(): void {
    const child = fork(fileURLToPath(new URL("./planner-process.ts", import.meta.url)), [planner], {
      // No secrets, no flags of this process, and no share in its terminal's signals: it ends when the channel does.
      env: compileCacheEnvironment(),
      execArgv: [`--max-old-space-size=${MAX_HEAP_MB}`],
      detached: true,
      stdio: ["ignore", "ignore", "ignore", "ipc"],
    });
    let exit: () => void = () => undefined;
    const exited = new Promise<void>((resolve) => {
      exit = resolve;
    });
    const worker: Worker = { child, state: "starting", job: null, timer: undefined, exited };
    workers.add(worker);
    worker.timer = setTimeout(() => child.kill("SIGKILL"), START_TIMEOUT_MS);
    const onEnd = () => {
      exit();
      if (!workers.delete(worker)) return;
      clearTimeout(worker.timer);
      if (worker.state === "starting" && !isClosed) failToStart("its process ended");
      worker.job?.resolve({ kind: "died" });
      pump();
    };
    child.on("exit", onEnd);
    child.on("error", onEnd);
    // Sent by planner-process.ts only.
    child.on("message", (reply) => take(worker, reply as PlannerReply));
    send(worker, { supergraphSdl });
    if (waiting.length === 0) release(worker);
  }

  /** While nobody waits for a process, it must not keep this one alive. */
  function release({ child }: Worker): void {
    child.unref();
    child.channel?.unref();
  }

  function hold({ child }: Worker): void {
    child.ref();
    child.channel?.ref();
  }

  function send({ child }: Worker, command: PlannerCommand): void {
    // A process that can no longer be written to ends; that is when its operation is answered.
    child.send(command, () => undefined);
  }

  function take(worker: Worker, reply: PlannerReply): void {
    clearTimeout(worker.timer);
    if (worker.state === "starting") {
      if ("error" in reply) {
        failToStart(reply.error);
        worker.child.kill("SIGKILL");
        return;
      }
      setIdle(worker);
    } else {
      const { job } = worker;
      setIdle(worker);
      if ("plan" in reply) job?.resolve({ kind: "planned", ...reply });
      else job?.resolve({ kind: "refused", reason: "error" in reply ? reply.error : "It answered something else." });
    }
    pump();
  }

  function setIdle(worker: Worker): void {
    worker.state = "idle";
    worker.job = null;
    worker.timer = setTimeout(() => {
      if (workers.size === 1 && options.isEager) return;
      workers.delete(worker);
      worker.child.kill("SIGKILL");
    }, idleMs).unref();
    release(worker);
  }

  function failToStart(reason: string): void {
    restUntil = performance.now() + REST_AFTER_FAILED_START_MS;
    log?.warn({ planner, reason }, "a query planner did not start");
    if ([...workers].some(({ state }) => state !== "starting")) return;
    for (const job of waiting.splice(0)) job.resolve({ kind: "unavailable" });
  }

  function assign(worker: Worker, job: Job): void {
    worker.state = "busy";
    worker.job = job;
    hold(worker);
    clearTimeout(worker.timer);
    worker.timer = setTimeout(
      () => {
        worker.job = null;
        job.resolve({ kind: "late" });
        worker.child.kill("SIGKILL");
      },
      job.isStepwise ? STEPWISE_TIMEOUT_MS : planTimeoutMs,
    );
    send(worker, { plan: job.request, isStepwise: job.isStepwise });
  }

  function pump(): void {
    for (const worker of workers) {
      if (worker.state !== "idle") continue;
      const job = waiting.shift();
      if (!job) break;
      assign(worker, job);
    }
    if (waiting.length === 0) {
      clearTimeout(impatience);
      impatience = undefined;
    } else if (workers.size === 0) {
      if (isClosed || performance.now() < restUntil)
        for (const job of waiting.splice(0)) job.resolve({ kind: "unavailable" });
      else start();
    } else if (workers.size < MAX_PROCESSES) {
      impatience ??= setTimeout(() => {
        impatience = undefined;
        const isStarting = [...workers].some(({ state }) => state === "starting");
        if (waiting.length > 0 && workers.size < MAX_PROCESSES && !isStarting && !isClosed) start();
      }, patienceMs);
    }
  }

  if (options.isEager) start();
  return {
    plan(request, isStepwise = false) {
      if (waiting.length >= maxWaiting) return Promise.resolve({ kind: "full" });
      return new Promise((resolve) => {
        waiting.push({ request, isStepwise, resolve });
        for (const worker of workers) if (worker.state === "starting") hold(worker);
        pump();
      });
    },
    async close() {
      isClosed = true;
      clearTimeout(impatience);
      const all = [...workers];
      for (const { child } of all) {
        child.ref();
        child.kill("SIGKILL");
      }
      await Promise.all(all.map(({ exited }) => exited));
    },
  };
}
