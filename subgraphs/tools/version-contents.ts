import type { ToolVersion } from "./tool-store.ts";

/** What a version says, without what lists, uniqueness and changes of tools need of it, which its row has. */
export type StatedContent = Pick<
  ToolVersion,
  "name" | "description" | "tags" | "launch" | "configSchema" | "changeSummary"
>;

export interface NewContent extends StatedContent {
  /** Of its own for each write: what a row names does not change. */
  id: string;
  versionId: string;
  /** When it is written, in epoch milliseconds. */
  at: number;
}

/**
 * Contents of versions where they are kept apart from the rows. A version is there once its row is committed. Its content is written before, so
 * that nobody sees the one without the other, and one that no row names after its day is nobody's.
 * @throws ToolyardError UPSTREAM_UNAVAILABLE from each, where the store cannot be used
 */
export interface VersionContents {
  /** Durable when it returns. */
  write(content: NewContent): Promise<void>;
  /** By their ids; those that are there. */
  read(ids: readonly string[]): Promise<Map<string, StatedContent>>;
  /** Those that were written before `before` (epoch ms), in the order of their ids, which rise with time. `after`: beyond this id. */
  list(after: string | null, before: number, limit: number): Promise<Pick<NewContent, "id" | "versionId">[]>;
  remove(ids: readonly string[]): Promise<void>;
}
