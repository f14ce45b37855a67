import type { UploadedContent } from "../content/document-content.ts";
import type {
  ContentProblem,
  Document,
  DocumentChange,
  SearchFilter,
  DocumentStore,
  Hit,
  NewDocument,
} from "../document-store.ts";
import type { SearchQuery } from "../search-query.ts";

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
  /** Parts that are not wanted are empty and 0. */
  search(job: {
    query: SearchQuery;
    filter: SearchFilter;
    limit: number;
    offset: number;
    wanted: readonly ("hits" | "totalCount")[];
  }): { hits: Hit[]; totalCount: number };
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
