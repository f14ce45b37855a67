import type { Page, Rows } from "@toolyard/service-kit";
import type { UploadedContent } from "./content/document-content.ts";
import type { DocumentIndex } from "./document-index.ts";

export interface Document {
  id: string;
  title: string;
  contentType: string;
  /** Bytes of the content. */
  size: number;
  /** SHA-256 of the content's bytes, hexadecimal. */
  digest: string;
  tags: string[];
  /** Any JSON; null when there is none. */
  metadata: unknown;
  toolId: string | null;
  uploadedById: string | null;
  /** Epoch milliseconds, as all times here. */
  createdAt: number;
  updatedAt: number;
}

export type NewDocument = Omit<Document, "size" | "digest">;

/** The changes; fields left out stay. */
export type DocumentChange = Partial<Omit<NewDocument, "id" | "uploadedById" | "createdAt">>;

export interface DocumentFilter {
  toolId: string | null;
  tag: string | null;
}

/** The content does not match its type; the message says how to mend it. */
export interface ContentProblem {
  problem: string;
}

/**
 * Documents, their contents and the index over them. A change is atomic with its index: what is written can be found at once,
 * what is deleted cannot. Nothing here blocks the event loop for long, whatever the size of a document. `subject` is whose work it
 * is: callers take turns.
 * @throws ToolyardError TIMEOUT, RATE_LIMITED or CAPACITY_EXHAUSTED where a change or a search takes too much: see JobProcesses.
 */
export interface DocumentStore extends DocumentIndex {
  insert(document: NewDocument, content: UploadedContent, subject: string | null): Promise<Document | ContentProblem>;
  /** Null when there is no such document. `content` null: it stays, but is read anew when the type changes. */
  update(
    id: string,
    change: DocumentChange,
    content: UploadedContent | null,
    subject: string | null,
  ): Promise<Document | ContentProblem | null>;
  /** False when there was no such document. */
  delete(id: string, subject: string | null): Promise<boolean>;

  findByIds(ids: readonly string[]): Promise<Document[]>;
  contentsOf(ids: readonly string[]): Promise<{ id: string; content: string }[]>;
  /** Newest first; one row more than the page's limit where there are more. */
  page(filter: DocumentFilter, page: Page): Rows<Document>;
  /** A page of each tool's documents, as `page`. */
  pagesOfTools(toolIds: readonly string[], page: Page): Promise<Document[][]>;
  countsOfTools(toolIds: readonly string[]): Promise<number[]>;
  /** Ends the work beside the event loop. */
  close(): Promise<void>;
}
