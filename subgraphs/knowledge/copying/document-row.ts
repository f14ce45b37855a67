import type { Row } from "@toolyard/storage/tables.ts";

/** A document with all that cannot be made anew, as it is copied from one place to another: tags and metadata are JSON text. */
export interface DocumentRow extends Row {
  id: string;
  title: string;
  contentType: string;
  size: number;
  digest: string;
  tags: string;
  metadata: string | null;
  toolId: string | null;
  uploadedById: string | null;
  createdAt: number;
  updatedAt: number;
  text: string;
  /** Where the text is another than what was uploaded. */
  original: string | null;
}

export const PART = "knowledge.documents";
/** Each may have megabytes. */
export const PAGE_DOCUMENTS = 10;
