import { parentPort } from "node:worker_threads";
import { stackOf, systemCodeOf } from "@toolyard/service-kit/errors/errors.ts";
import { READY, type JobAnswer, type JobRequest } from "./messages.ts";

/** Called by the module that createJobProcesses was given: answers its jobs, by name, one after the other. */
export function serveJobs<Jobs extends object>(jobs: Jobs): void {
  const port = parentPort;
  if (!port) throw new Error("A module of jobs must run in a process that createJobProcesses started.");
  const answerTo = async ({ name, job }: JobRequest): Promise<JobAnswer> => {
    try {
      // The caller's types pair each name with its job.
      return { result: await (jobs[name as keyof Jobs] as (job: unknown) => unknown)(job) };
    } catch (error) {
      return { error: stackOf(error), code: systemCodeOf(error) };
    }
  };
  port.on("message", (request: JobRequest) => void answerTo(request).then((answer) => port.postMessage(answer)));
  port.postMessage(READY);
}
