/** What goes between job-processes.ts and child.ts, as structured clones. */

/** The first message: what the process is for. */
export interface Setup {
  /** URL of the module that serves the jobs: see serve-jobs.ts. */
  module: string;
  /** Given to the module as its thread's workerData. */
  data: unknown;
}

export interface JobRequest {
  name: string;
  job: unknown;
}

/** The module has loaded and takes jobs. */
export const READY = "ready";

/** Of an error its stack, and the system's or a driver's code where it has one. */
export type JobAnswer = { result: unknown } | { error: string; code: string | null };
