import type { LongWork } from "@toolyard/storage";
import type { GitHubConnection, ConnectionPlace, SyncedFile } from "./connection.ts";

/** Connections to repositories, their files and the deliveries of webhooks. Several processes may have it open. */
export interface ConnectionStore {
  /**
   * A tool follows one place at a time: "following" where it follows one already. A place that it followed before is the same connection
   * again, with its files.
   */
  connect(
    place: ConnectionPlace,
    by: Pick<GitHubConnection, "connectedById" | "lastError"> & { now: number },
  ): Promise<GitHubConnection | "following">;
  /** DISCONNECTED, and nobody's turn. Idempotent. */
  disconnect(id: string): Promise<void>;

  findByIds(ids: readonly string[]): Promise<GitHubConnection[]>;
  /** What each of the tools follows. */
  ofTools(toolIds: readonly string[]): Promise<GitHubConnection[]>;
  /** Connections that follow the branch; names of repositories are the same in either case. */
  following(branch: Pick<ConnectionPlace, "owner" | "repository" | "branch">): Promise<GitHubConnection[]>;

  /** Those that are SYNCING, also where nothing syncs them any more. */
  syncing(): Promise<GitHubConnection[]>;

  /** Notes a queued sync in the place of the last one; false where another was noted meanwhile, or it is disconnected. */
  queued(id: string, taskId: string, after: string | null): Promise<boolean>;
  /**
   * SYNCING, with the turn given to a task: where it is nobody's, its own already, or `instead`'s. Answers whose turn it is; null where the
   * connection is disconnected.
   */
  begin(id: string, taskId: string, instead: string | null): Promise<string | null>;
  /** Notes the manifest that the tool is in line with, and its version then; nothing where it is not this task's turn. */
  adopted(id: string, taskId: string, manifest: { oid: string; versionId: string; isNew: boolean }): Promise<void>;
  /** Notes another name of the repository; nothing where it is not this task's turn. */
  renamed(id: string, taskId: string, name: Pick<ConnectionPlace, "owner" | "repository">): Promise<void>;
  /** Ends a task's turn: with the commit it read, an error for people, or neither. Nothing where it is not this task's turn. */
  end(id: string, taskId: string, outcome: { commitSha: string; at: number } | { error: string } | null): Promise<void>;

  filesOf(id: string): Promise<SyncedFile[]>;
  /** Adds a file, or changes the one with its path. */
  putFile(id: string, file: SyncedFile): Promise<void>;
  removeFile(id: string, path: string): Promise<void>;

  /** True for one caller only until `forgetDelivery`; again for one that was begun before `staleBefore` and not finished. */
  beginDelivery(id: string, now: number, staleBefore: number): Promise<boolean>;
  finishDelivery(id: string): Promise<void>;
  forgetDelivery(id: string): Promise<void>;
  /** Removes those from before `at`. */
  trimDeliveries(at: number, work?: LongWork): Promise<number>;
}
