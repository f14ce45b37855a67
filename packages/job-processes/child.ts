/**
 * The process around a module of jobs. The jobs run in a thread, so that this one stays free to end the process the moment its
 * parent is gone, whatever a job is doing: in SQL or in a loop. Nothing ever ends the thread alone.
 */
import { flushCompileCache } from "node:module";
import { Worker } from "node:worker_threads";
import { stackOf } from "@toolyard/service-kit/errors/errors.ts";
import type { Setup } from "./messages.ts";

process.once("disconnect", () => process.kill(process.pid, "SIGKILL"));
process.once("message", ({ module, data }: Setup) => {
  const thread = new Worker(new URL(module), { workerData: data });
  thread.on("message", (message: unknown) => process.send?.(message));
  // All is loaded when its first message comes. Node would write its compile cache at the end, and this process is killed then.
  thread.once("message", () => flushCompileCache());
  thread.on("error", (error: unknown) => {
    process.stderr.write(`${stackOf(error)}\n`);
    process.kill(process.pid, "SIGKILL");
  });
  process.on("message", (message: unknown) => thread.postMessage(message));
});
