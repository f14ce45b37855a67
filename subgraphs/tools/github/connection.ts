/** A tool that follows a branch of a repository. Times are epoch milliseconds. */
export interface GitHubConnection {
  id: string;
  toolId: string;
  owner: string;
  repository: string;
  branch: string;
  /** The folder that holds `toolyard.yaml`, without slashes at its ends; "" for the root. */
  path: string;
  status: ConnectionStatus;
  lastSyncedCommit: string | null;
  lastSyncedAt: number | null;
  lastError: string | null;
  /** Who connected it: whom its syncs act for. */
  connectedById: string;
  createdAt: number;
  /** The newest sync that was queued. */
  taskId: string | null;
  /** The sync whose turn it is. */
  runningTaskId: string | null;
  /** Git's id of the `toolyard.yaml` that the tool was brought in line with. */
  manifestOid: string | null;
  /** The tool's version then. */
  manifestVersionId: string | null;
  /** The sync that made that version; null where it was there before. */
  manifestTaskId: string | null;
}

type ConnectionStatus = "CONNECTED" | "SYNCING" | "FAILED" | "DISCONNECTED";

/** Where a branch is read. */
export type ConnectionPlace = Pick<GitHubConnection, "toolId" | "owner" | "repository" | "branch" | "path">;

/** A file that is kept as a document, as of the last sync. */
export interface SyncedFile {
  /** From the connection's folder. */
  path: string;
  documentId: string;
  /** Git's id of the content that the document has; null while it is not stored yet. */
  oid: string | null;
  /** The document's digest when it was stored: another one means that somebody changed it by hand. */
  digest: string | null;
}
