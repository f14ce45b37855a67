import type { Page, Rows, ShareAccess } from "@toolyard/service-kit";
import type { StoredLaunch } from "@toolyard/launch";
import type { LongWork } from "@toolyard/storage";

export interface Tool {
  id: string;
  slug: string;
  name: string;
  description: string;
  tags: string[];
  authorId: string | null;
  templateId: string | null;
  currentVersionId: string;
  /** Number of the current version. */
  currentNumber: number;
  /** Epoch milliseconds, as all times here. */
  createdAt: number;
  updatedAt: number;
  deletedAt: number | null;
}

/** Immutable. Secret values in `launch` are sealed with `id` as context. */
export interface ToolVersion {
  id: string;
  toolId: string;
  /** From 1, rising by one. */
  number: number;
  name: string;
  description: string;
  tags: string[];
  launch: StoredLaunch;
  /** JSON Schema; null when there is none. */
  configSchema: unknown;
  digest: string;
  changeSummary: string | null;
  source: VersionSource;
  commitSha: string | null;
  createdById: string | null;
  createdAt: number;
}

export type VersionSource = "MANUAL" | "GITHUB" | "GENERATED" | "REVERT" | "TEMPLATE";
export type ToolChangeKind = "CREATED" | "UPDATED" | "DELETED" | "RESTORED" | "SHARED" | "UNSHARED";

export interface ToolShare {
  toolId: string;
  userId: string;
  access: ShareAccess;
  sharedById: string | null;
  createdAt: number;
  updatedAt: number;
}

/** What an event has besides its kind and its tool's id; the tool itself is read as of now. */
export interface ToolEventPayload {
  /** Of `SHARED` and `UNSHARED`: the user, their access from then on, and the tool's author. */
  userId?: string;
  access?: ShareAccess | null;
  authorId?: string | null;
}

/** Tools on one list of a user's. */
type ListOfUser = { authorId: string } | { sharedWith: string };

export interface ToolFilter {
  /** Each occurs in slug, name, description or tags, without regard to case. */
  words: readonly string[];
  tag: string | null;
  includeDeleted: boolean;
}

/**
 * Tools and their versions. A change is atomic: the version, the tool's row that points to it and the event are there together
 * or not at all, and those who follow the event log are woken after.
 * @throws ToolyardError UPSTREAM_UNAVAILABLE from what reads or writes versions, where their contents are kept apart, and away
 */
export interface ToolStore {
  /** "slug-taken" when a tool, also a deleted one, has the slug; nothing is written then. */
  insert(tool: Tool, firstVersion: ToolVersion): Promise<"inserted" | "slug-taken">;
  /**
   * Adds a version and makes it the current one, with its name, description and tags. "superseded" when the tool's current
   * version is no longer `afterVersionId`, or the tool is deleted; nothing is written then.
   */
  commit(version: ToolVersion, afterVersionId: string): Promise<"committed" | "superseded">;
  /**
   * Marks as deleted or restored; false when it was so already, or when its current version is not `atVersionId`, where that is
   * given. `now` becomes `updatedAt`.
   */
  setDeleted(id: string, deleted: boolean, now: number, atVersionId?: string): Promise<boolean>;

  /**
   * Shares a tool, or changes the share's access; nothing is written when it is shared so already. "too-many" when it would be shared with
   * more than `maxUsers`; "gone" when it is deleted.
   */
  share(share: ToolShare, maxUsers: number): Promise<"shared" | "too-many" | "gone">;
  /** False when it was not shared with the user. */
  unshare(toolId: string, userId: string, now: number): Promise<boolean>;
  /** Of each tool, the first first. */
  sharesOf(toolIds: readonly string[]): Promise<ToolShare[][]>;
  /** Of each tool that is not deleted; null where it is not shared with the user. */
  accessOf(userId: string, toolIds: readonly string[]): Promise<(ShareAccess | null)[]>;
  /** Those that are not deleted, newest first. */
  pageOf(list: ListOfUser, page: Page): Rows<Tool>;

  findByIds(ids: readonly string[]): Promise<Tool[]>;
  findBySlugs(slugs: readonly string[]): Promise<Tool[]>;
  /** The newest tool of this author and name that was made of the template and is not deleted. */
  ofTemplate(templateId: string, authorId: string, name: string): Promise<Tool | null>;
  findVersionsByIds(ids: readonly string[]): Promise<ToolVersion[]>;
  findVersion(toolId: string, number: number): Promise<ToolVersion | null>;
  /** The version of this number of each tool that has one. */
  findVersionsOf(toolIds: readonly string[], number: number): Promise<ToolVersion[]>;
  /** Newest first. A search lets others run between its parts: it takes as long as is needed, and holds nothing up. */
  page(filter: ToolFilter, page: Page): Rows<Tool>;
  /** Of each tool, newest first; the page's `afterId` is a version's number. */
  versionPages(toolIds: readonly string[], page: Page): Promise<ToolVersion[][]>;
  versionCounts(toolIds: readonly string[]): Promise<number[]>;
  /** Those of the slugs that tools have, deleted ones as well. */
  takenOf(slugs: readonly string[]): Promise<Set<string>>;
  /** Slugs of tools that are not deleted, the newest first. */
  newestSlugs(limit: number): Promise<string[]>;
  /**
   * Removes contents from before `before` (epoch ms) that were written for versions that never came to be, where contents are kept apart;
   * answers how many.
   */
  removeStrayContents(before: number, work?: LongWork): Promise<number>;
  /** How many tools were ever registered, and those of them that are not deleted. */
  count(): Promise<{ ever: number; current: number }>;
  /** See ToolSearch.complete. */
  completeSearch(work?: LongWork): Promise<number>;
}
