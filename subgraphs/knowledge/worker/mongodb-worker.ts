/** The jobs of the knowledge subgraph on MongoDB, on a connection of their own: see JobProcesses. */
import { workerData } from "node:worker_threads";
import { serveJobs } from "@toolyard/job-processes/serve-jobs.ts";
import { mongodbUnavailable, openMongodb, type MongodbConnection } from "@toolyard/mongodb";
import { createLogger } from "@toolyard/service-kit/process/log.ts";
import type { MongodbSettings } from "@toolyard/service-kit/process/process-config.ts";
import type { AsyncDocumentJobs, Served, ServedDocumentJobs } from "./document-jobs.ts";
import { createMongodbDocumentSearcher } from "./document-searcher.mongodb.ts";
import { createMongodbDocumentWriter } from "./document-writer.mongodb.ts";
import { createTextAnalyser } from "./text-analyser.ts";

// The store gives them.
const settings = workerData as MongodbSettings;
const analyser = createTextAnalyser();
let opened: Promise<AsyncDocumentJobs> | null = null;

async function open(): Promise<AsyncDocumentJobs> {
  const logger = createLogger({ level: "silent", name: "documents" });
  const mongodb: MongodbConnection = await openMongodb({
    settings,
    name: "documents",
    logger,
    poolSize: 4,
    startMs: 0,
  });
  return {
    ...createMongodbDocumentWriter(mongodb, analyser),
    ...createMongodbDocumentSearcher(mongodb, analyser),
  };
}

async function serve<Result>(run: (jobs: AsyncDocumentJobs) => Promise<Result>): Promise<Served<Result>> {
  try {
    opened ??= open();
    const jobs = await opened.catch((error: unknown) => {
      opened = null;
      throw error;
    });
    return { result: await run(jobs) };
  } catch (error) {
    const unavailable = mongodbUnavailable(error);
    if (!unavailable) throw error;
    const { retryAfterSeconds = null } = unavailable.extensions as { retryAfterSeconds?: number };
    return { unavailable: { message: unavailable.message, retryAfterSeconds } };
  }
}

serveJobs<ServedDocumentJobs>({
  insert: (job) => serve(({ insert }) => insert(job)),
  update: (job) => serve(({ update }) => update(job)),
  delete: (job) => serve((jobs) => jobs.delete(job)),
  search: (job) => serve(({ search }) => search(job)),
});
