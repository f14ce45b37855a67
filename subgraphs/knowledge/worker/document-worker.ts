/** The jobs of the knowledge subgraph, one after the other on a connection of their own: see JobProcesses. */
import { workerData } from "node:worker_threads";
import { serveJobs } from "@toolyard/job-processes/serve-jobs.ts";
import LibsqlDatabase from "libsql";
import type { DocumentJobs } from "./document-jobs.ts";
import { createDocumentSearcher } from "./document-searcher.ts";
import { createDocumentWriter } from "./document-writer.ts";

// The store gives the file's path.
const database = new LibsqlDatabase(workerData as string);
database.pragma("busy_timeout = 5000");
// Acknowledged writes survive a power cut.
database.pragma("synchronous = FULL");
serveJobs<DocumentJobs>({ ...createDocumentWriter(database), ...createDocumentSearcher(database) });
