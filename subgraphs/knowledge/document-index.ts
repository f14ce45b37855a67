import { createLoader, type Rows } from "@toolyard/service-kit";
import type { SearchQuery } from "./search-query.ts";

/** Of documents beside any of the tools; null: all. */
export interface SearchFilter {
  toolIds: readonly string[] | null;
  tag: string | null;
}

export interface Hit {
  documentId: string;
  /** Higher is better. */
  score: number;
  /** The best passage, its matches between ⟦ and ⟧. */
  snippet: string;
}

/**
 * Finds documents by words, phrases and beginnings of words. Each adapter's entries are written in the transactions of the documents that they are of
 * (worker/document-writer*.ts), so that it is never behind them, and are searched beside the event loop (worker/document-searcher*.ts). All adapters
 * give the same hits, ranks and snippets.
 */
export interface DocumentIndex {
  /** Best first; one hit more than `limit` where there are more. Parts that are asked for at once are one search. */
  search(
    query: SearchQuery,
    filter: SearchFilter,
    range: { limit: number; offset: number },
    subject: string | null,
  ): Rows<Hit>;
}

/** What one search is asked, in the process that does it. Parts that are not wanted are empty and 0. */
export interface SearchJob {
  query: SearchQuery;
  filter: SearchFilter;
  limit: number;
  offset: number;
  wanted: readonly ("hits" | "totalCount")[];
}

export interface SearchAnswer {
  hits: Hit[];
  totalCount: number;
}

/** The index as an adapter's `search` has it. */
export function createDocumentIndex(
  search: (job: SearchJob, subject: string | null) => Promise<SearchAnswer>,
): DocumentIndex {
  return {
    search(query, filter, range, subject) {
      const parts = createLoader(async (wanted: SearchJob["wanted"]) => {
        const found = await search({ query, filter, ...range, wanted }, subject);
        return wanted.map(() => found);
      });
      return {
        rows: async () => (await parts.load("hits")).hits,
        totalCount: async () => (await parts.load("totalCount")).totalCount,
      };
    },
  };
}
