/**
 * The process around a module of jobs. The jobs run in a thread, so that this one stays free to end the process the moment its
 * parent is gone, whatever a job is doing: in SQL or in a loop. Nothing ever ends the thread alone.
 */
import { Worker } from "node:worker_threads";
import { stackOf } from "@toolyard/service-kit/errors/errors.ts";
import type { Setup } from "./messages.ts";

process.once("disconnect", () => process.kill(process.pid, "SIGKILL"));
process.once("message", ({ module, data }: Setup) => {
  const thread = new Worker(new URL(module), { workerData: data });
  thread.on("message", (message: unknown) => process.send?.(message));
  thread.on("error", (error: unknown) => {
    process.stderr.write(`${stackOf(error)}\n`);
    process.kill(process.pid, "SIGKILL");
  });
  process.on("message", (message: unknown) => thread.postMessage(message));
});
