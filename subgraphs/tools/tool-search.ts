import type { Page, Rows } from "@toolyard/service-kit";
import type { LongWork, Transaction } from "@toolyard/storage";
import type { Tool, ToolFilter } from "./tool-store.ts";

/** Texts of tools, and what finds tools by them. An adapter looks for `searchable` words in `searchTextOf`, so that all give the same answers. */
export interface ToolSearch {
  /** Each writes in the transaction that changes the tool. */
  insert(tx: Transaction, tool: SearchedTool): Promise<void>;
  update(tx: Transaction, tool: SearchedTool): Promise<void>;
  setDeleted(tx: Transaction, toolId: string, deleted: boolean): Promise<void>;
  /** Ids of tools that have all words and the tag, the newest registered first. Yields to the event loop after each bounded step. */
  page(filter: ToolFilter, page: Page): Rows<string>;
  /** Makes searches among texts fast that were written by another adapter; answers how many. They are right without it, too. */
  complete(work?: LongWork): Promise<number>;
}

export type SearchedTool = Pick<Tool, "id" | "slug" | "name" | "description" | "tags">;

/** A line for each of the slug, the name, the description and the tags, as `searchable`. */
export function searchTextOf({ slug, name, description, tags }: SearchedTool): string {
  return searchable([slug, name, description, ...tags, ""].join("\n"));
}

/**
 * Lower case of every script, compatibility forms as one. No letter has more than thirty marks (UAX #15, Stream-Safe Text Format):
 * sorting them takes time that grows with the square of their number.
 */
export function searchable(text: string): string {
  return text
    .toWellFormed()
    .replaceAll(/(\p{M}{30})\p{M}+/gu, "$1")
    .normalize("NFKC")
    .toLowerCase();
}
