import { fork, type ChildProcess } from "node:child_process";
import { join } from "node:path";
import { ToolyardError, type Logger } from "@toolyard/service-kit";
import { compileCacheEnvironment } from "@toolyard/service-kit/process/compile-cache.ts";
import { createFairQueue } from "./fair-queue.ts";
import { READY, type JobAnswer, type JobRequest, type Setup } from "./messages.ts";

/**
 * Runs work on what users wrote in processes of its own: each does one job at a time, and is killed when the job takes too long or
 * too much memory. (A thread cannot be: ended within SQL or another library's code, it takes the whole process with it.)
 */
export interface JobProcesses<Jobs> {
  /**
   * `subject` is whose work it is, as Caller has it: callers take turns.
   * @throws ToolyardError TIMEOUT after the deadline, CAPACITY_EXHAUSTED when the job took too much memory, RATE_LIMITED when the caller
   * has too many jobs waiting, CAPACITY_EXHAUSTED when all together have, or at the close; Error when the job threw.
   */
  run<Name extends keyof Jobs & string>(
    name: Name,
    job: JobOf<Jobs[Name]>,
    subject: string | null,
  ): Promise<ResultOf<Jobs[Name]>>;
  /** Takes no more jobs; lets those that were taken end, or with "now" kills them. */
  close(how: "finish" | "now"): Promise<void>;
}

type JobOf<Run> = Run extends (job: infer Job) => unknown ? Job : never;
type ResultOf<Run> = Run extends (job: never) => infer Result ? Awaited<Result> : never;

export interface JobProcessesOptions {
  /** What the jobs are, as messages name them: "search". */
  name: string;
  /** The module that serves the jobs: it calls serveJobs. */
  module: URL;
  /** For the module, as its workerData. */
  data?: unknown;
  logger: Logger;
  /** At most at once. Where there are several, one caller has at most all but one. */
  processes?: number;
  /** Milliseconds for a job, from when it begins. */
  deadlineMs?: number;
  /** Of V8's heap, for each process. */
  memoryMb?: number;
  /** Milliseconds that a process without work stays. */
  idleMs?: number;
  /** Aborts when Toolyard begins to stop: those who wait for a job are waited for, so jobs have only so long from then on. */
  signal?: AbortSignal | undefined;
  stopMs?: number;
}

interface Waiting extends JobRequest {
  resolve(result: unknown): void;
  reject(error: Error): void;
}

interface Running {
  process: ChildProcess;
  ready: boolean;
  job: Waiting | null;
  caller: string;
  timer: NodeJS.Timeout | null;
  /** The end of what it wrote to stderr. */
  lastWords: string;
}

/** For loading the module, on a machine that is busy. */
const START_MS = 30_000;
const LAST_WORDS = 2_000;
/** Jobs that may wait: one caller's, and all together. */
const MAX_WAITING_OF_CALLER = 32;
const MAX_WAITING = 1_000;

export function createJobProcesses<Jobs>(options: JobProcessesOptions): JobProcesses<Jobs> {
  const { name, module, data, logger, processes = 2, deadlineMs = 10_000, memoryMb = 256 } = options;
  const { idleMs = 30_000, signal, stopMs = 1_000 } = options;
  const each = Math.max(1, processes - 1);
  const queue = createFairQueue<Waiting>();
  const running = new Set<Running>();
  /** The ends of all processes that are still there. */
  const ending = new Set<Promise<void>>();
  let closed = false;
  const { promise: done, resolve: allDone } = Promise.withResolvers<void>();

  const countOf = (caller: string) => [...running].filter((one) => one.job !== null && one.caller === caller).length;

  /** Gives jobs to processes while there are both. */
  function dispatch(): void {
    for (;;) {
      const idle = [...running].find(({ job }) => job === null);
      const next = idle || running.size < processes ? queue.take((caller) => countOf(caller) < each) : null;
      if (!next) break;
      begin(idle ?? start(), next.item, next.caller);
    }
    if (closed && [...running].every(({ job }) => job === null)) allDone();
  }

  function begin(one: Running, job: Waiting, caller: string): void {
    if (one.timer) clearTimeout(one.timer);
    one.job = job;
    one.caller = caller;
    one.process.ref();
    one.process.channel?.ref();
    if (one.ready) send(one, job);
    else one.timer = setTimeout(() => giveUp(one, new Error(`A process for ${name} did not start in time.`)), START_MS);
  }

  function send(one: Running, { name: jobName, job }: Waiting): void {
    one.process.send({ name: jobName, job } satisfies JobRequest);
    one.timer = setTimeout(
      () =>
        giveUp(
          one,
          new ToolyardError("TIMEOUT", `This ${name} took longer than ${deadlineMs / 1000} s and was given up.`),
        ),
      deadlineMs,
    );
  }

  /** Ends the process with its job. */
  function giveUp(one: Running, error: Error): void {
    const job = take(one);
    end(one);
    job?.reject(error);
    dispatch();
  }

  function end(one: Running): void {
    if (one.timer) clearTimeout(one.timer);
    running.delete(one);
    one.process.kill("SIGKILL");
  }

  /** The job that ran is over; the process waits for the next, for a while. */
  function take(one: Running): Waiting | null {
    const { job } = one;
    if (one.timer) clearTimeout(one.timer);
    one.job = null;
    // Neither holds the process while there is nothing to do.
    one.process.unref();
    one.process.channel?.unref();
    one.timer = setTimeout(() => end(one), idleMs).unref();
    return job;
  }

  function start(): Running {
    const child = fork(join(import.meta.dirname, "child.ts"), [], {
      // Neither secrets nor anything that Node or a loader obeys.
      env: compileCacheEnvironment(),
      execArgv: [`--max-old-space-size=${memoryMb}`],
      serialization: "advanced",
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    const one: Running = {
      process: child,
      ready: false,
      job: null,
      caller: "",
      timer: null,
      lastWords: "",
    };
    running.add(one);
    const { promise: ended, resolve: hasEnded } = Promise.withResolvers<void>();
    ending.add(ended);
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      one.lastWords = (one.lastWords + text).slice(-LAST_WORDS);
    });
    child.on("message", (message: typeof READY | JobAnswer) => {
      if (message === READY) {
        one.ready = true;
        if (one.timer) clearTimeout(one.timer);
        if (one.job) send(one, one.job);
        return;
      }
      const job = take(one);
      if ("error" in message) job?.reject(failure(name, message));
      else job?.resolve(message.result);
      dispatch();
    });
    child.on("error", (error) => giveUp(one, new Error(`A process for ${name} broke.`, { cause: error })));
    child.once("close", () => {
      hasEnded();
      ending.delete(ended);
      if (!running.delete(one)) return;
      if (one.timer) clearTimeout(one.timer);
      const outOfMemory = /heap out of memory|ERR_WORKER_OUT_OF_MEMORY/.test(one.lastWords);
      logger.warn({ lastWords: one.lastWords }, `a process for ${name} ended by itself; the next job starts another`);
      one.job?.reject(
        outOfMemory
          ? new ToolyardError("CAPACITY_EXHAUSTED", `This ${name} took more memory than it may and was given up.`)
          : new Error(`A process for ${name} ended during a job.`),
      );
      dispatch();
    });
    child.send({ module: module.href, data } satisfies Setup);
    return one;
  }

  async function close(how: "finish" | "now"): Promise<void> {
    closed = true;
    if (how === "now") {
      for (let next = queue.take(() => true); next; next = queue.take(() => true)) next.item.reject(closing(name));
      for (const one of running) if (one.job) giveUp(one, closing(name));
    }
    dispatch();
    await done;
    for (const one of running) end(one);
    await Promise.all(ending);
  }

  const hurry = () => setTimeout(() => void close("now"), stopMs).unref();
  signal?.addEventListener("abort", hurry, { once: true });

  return {
    run(jobName, job, subject) {
      const caller = subject ?? "anonymous";
      if (closed) return Promise.reject(closing(name));
      if (queue.sizeOf(caller) >= MAX_WAITING_OF_CALLER) {
        const message = `You have ${MAX_WAITING_OF_CALLER} of these waiting already (${name}): let some end first.`;
        return Promise.reject(new ToolyardError("RATE_LIMITED", message, { retryAfterSeconds: 1 }));
      }
      if (queue.size >= MAX_WAITING) {
        const message = `Too many are waiting for this now (${name}): try again in a moment.`;
        return Promise.reject(new ToolyardError("CAPACITY_EXHAUSTED", message, { retryAfterSeconds: 1 }));
      }
      return new Promise((resolve, reject) => {
        // The process answers each job with its own result.
        queue.add(caller, { name: jobName, job, resolve: resolve as (result: unknown) => void, reject });
        dispatch();
      });
    },

    close,
  };
}

function failure(name: string, { error, code }: Extract<JobAnswer, { error: string }>): Error {
  return Object.assign(new Error(`A job for ${name} failed: ${error}`), code !== null && { code });
}

function closing(name: string): ToolyardError {
  return new ToolyardError("CAPACITY_EXHAUSTED", `Toolyard is stopping: this ${name} was not done.`);
}
