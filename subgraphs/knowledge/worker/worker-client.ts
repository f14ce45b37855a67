import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { ToolyardError, type Logger } from "@toolyard/service-kit";
import { END, type DocumentJobs, type JobAnswer, type JobName, type JobRequest } from "./document-jobs.ts";

/** Runs jobs in a worker thread, which is made when it is first needed and anew after it broke. */
export interface WorkerClient {
  /** @throws ToolyardError TIMEOUT after the deadline; Error when the job failed or the thread broke. */
  run<Name extends JobName>(
    name: Name,
    job: Parameters<DocumentJobs[Name]>[0],
  ): Promise<ReturnType<DocumentJobs[Name]>>;
  /** Lets running jobs end, within the deadline. */
  close(): Promise<void>;
}

interface Pending {
  resolve(result: unknown): void;
  reject(error: Error): void;
  timer: NodeJS.Timeout;
}

interface Thread {
  worker: Worker;
  pending: Map<number, Pending>;
  ended: Promise<void>;
}

export function createWorkerClient(options: {
  /** Path of the SQLite file, whose migrations have run. */
  file: string;
  logger: Logger;
  deadlineMs?: number;
}): WorkerClient {
  const { file, logger, deadlineMs = 30_000 } = options;
  let thread: Thread | null = null;
  let sequence = 0;
  let closed = false;

  function start(): Thread {
    const worker = new Worker(join(import.meta.dirname, "document-worker.ts"), { workerData: file });
    const pending = new Map<number, Pending>();
    const ended = Promise.withResolvers<void>();
    const started: Thread = { worker, pending, ended: ended.promise };
    worker.unref(); // holds the process only while it works
    worker.on("message", (answer: JobAnswer) => {
      const job = take(started, answer.sequence);
      if ("error" in answer) job?.reject(new Error(`A job of the knowledge worker failed: ${answer.error}`));
      else job?.resolve(answer.result);
    });
    worker.on("error", (error) =>
      logger.error({ err: error }, "a knowledge worker broke; the next job starts another"),
    );
    worker.on("exit", () => {
      if (thread === started) thread = null;
      for (const id of pending.keys()) take(started, id)?.reject(new Error("The knowledge worker ended during a job."));
      ended.resolve();
    });
    return started;
  }

  function take({ worker, pending }: Thread, id: number): Pending | undefined {
    const job = pending.get(id);
    if (!job) return undefined;
    pending.delete(id);
    clearTimeout(job.timer);
    if (pending.size === 0) worker.unref();
    return job;
  }

  return {
    run(name, job) {
      if (closed) return Promise.reject(new Error("The knowledge worker is closed."));
      const current = (thread ??= start());
      const id = ++sequence;
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          take(current, id)?.reject(
            new ToolyardError("TIMEOUT", `This took longer than ${deadlineMs / 1000} s and was given up.`),
          );
          // SQL cannot be stopped from outside: the thread ends when it comes back, and its transaction with it.
          if (thread === current) thread = null;
          void current.worker.terminate();
        }, deadlineMs);
        current.pending.set(id, {
          // The worker answers each job with its own result.
          resolve: (result) => resolve(result as ReturnType<DocumentJobs[typeof name]>),
          reject,
          timer,
        });
        current.worker.ref();
        current.worker.postMessage({ sequence: id, name, job } satisfies JobRequest);
      });
    },
    async close() {
      closed = true;
      const current = thread;
      if (!current) return;
      current.worker.postMessage(END);
      const timer = setTimeout(() => void current.worker.terminate(), deadlineMs);
      current.worker.ref();
      await current.ended;
      clearTimeout(timer);
    },
  };
}
