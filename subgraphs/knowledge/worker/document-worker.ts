/** A worker thread of the knowledge subgraph: does its jobs one after the other on a connection of its own. */
import { parentPort, workerData } from "node:worker_threads";
import LibsqlDatabase from "libsql";
import { END, type DocumentJobs, type JobAnswer, type JobRequest } from "./document-jobs.ts";
import { createDocumentSearcher } from "./document-searcher.ts";
import { createDocumentWriter } from "./document-writer.ts";

const port = parentPort;
if (!port) throw new Error("document-worker.ts runs as a worker thread only.");

// The client gives the file's path as workerData.
const database = new LibsqlDatabase(workerData as string);
database.pragma("busy_timeout = 5000");
// What is acknowledged survives a power cut.
database.pragma("synchronous = FULL");
const jobs: DocumentJobs = { ...createDocumentWriter(database), ...createDocumentSearcher(database) };

port.on("message", (message: JobRequest | typeof END) => {
  if (message === END) {
    database.close();
    port.close();
    return;
  }
  port.postMessage(answer(message));
});

function answer({ sequence, name, job }: JobRequest): JobAnswer {
  try {
    // The client's types pair each name with its job.
    const run = jobs[name] as (job: unknown) => unknown;
    return { sequence, result: run(job) };
  } catch (error) {
    return { sequence, error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}
