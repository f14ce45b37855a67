import type { UploadedContent } from "../content/document-content.ts";
import type {
  ContentProblem,
  Document,
  DocumentChange,
  DocumentFilter,
  DocumentStore,
  Hit,
  NewDocument,
} from "../document-store.ts";
import type { SearchQuery } from "../search-query.ts";

/** What runs in a worker thread, by name: arguments and results cross as structured clones. See DocumentStore. */
export interface DocumentJobs {
  insert(job: { document: NewDocument; content: UploadedContent }): Document | ContentProblem;
  update(job: {
    id: string;
    change: DocumentChange;
    content: UploadedContent | null;
  }): Awaited<ReturnType<DocumentStore["update"]>>;
  delete(job: { id: string }): boolean;
  search(job: { query: SearchQuery; filter: DocumentFilter; limit: number; offset: number }): {
    hits: Hit[];
    totalCount: number;
  };
}

export type JobName = keyof DocumentJobs;

export interface JobRequest {
  sequence: number;
  name: JobName;
  job: unknown;
}

export type JobAnswer = { sequence: number; result: unknown } | { sequence: number; error: string };

/** Asks the worker to end once it is idle. */
export const END = "end";
