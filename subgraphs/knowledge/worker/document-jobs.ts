import type { UploadedContent } from "../content/document-content.ts";
import type { SearchAnswer, SearchJob } from "../document-index.ts";
import type { ContentProblem, Document, DocumentChange, DocumentStore, NewDocument } from "../document-store.ts";

/** The jobs that run beside the event loop, by name: arguments and results cross as structured clones. See DocumentStore. */
export interface DocumentJobs {
  insert(job: { document: NewDocument; content: UploadedContent }): Document | ContentProblem;
  update(job: {
    id: string;
    change: DocumentChange;
    content: UploadedContent | null;
  }): Awaited<ReturnType<DocumentStore["update"]>>;
  delete(job: { id: string }): boolean;
  /** Indexes a text that an earlier version stored; false when there is none left. */
  indexNext(): boolean;
  search(job: SearchJob): SearchAnswer;
}

/** The same where the store is on a server. */
export type AsyncDocumentJobs = {
  [Name in Exclude<keyof DocumentJobs, "indexNext">]: (
    ...job: Parameters<DocumentJobs[Name]>
  ) => Promise<Awaited<ReturnType<DocumentJobs[Name]>>>;
};

/** A job's result, or why the server could not be used: errors cross as text only. */
export type Served<Result> =
  { result: Result } | { unavailable: { message: string; retryAfterSeconds: number | null } };

export type ServedDocumentJobs = {
  [Name in keyof AsyncDocumentJobs]: (
    ...job: Parameters<AsyncDocumentJobs[Name]>
  ) => Promise<Served<Awaited<ReturnType<AsyncDocumentJobs[Name]>>>>;
};
