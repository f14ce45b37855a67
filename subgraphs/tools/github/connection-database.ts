import { column } from "@toolyard/storage";
import { EntitySchema } from "typeorm";
import type { GitHubConnection, SyncedFile } from "./connection.ts";

export interface ConnectionRow extends GitHubConnection {
  /** The tool's id while it follows, else null: by which it follows one place at a time. */
  followerId: string | null;
  /** `owner/name` in lower case. */
  fullName: string;
}

export interface SyncedFileRow extends SyncedFile {
  connectionId: string;
}

interface DeliveryRow {
  id: string;
  receivedAt: number;
  finished: boolean;
}

export const connectionEntity = new EntitySchema<ConnectionRow>({
  name: "github_connections",
  columns: {
    id: { ...column.primaryId },
    toolId: { ...column.id },
    followerId: { ...column.nullableId },
    owner: { ...column.name },
    repository: { ...column.name },
    fullName: { ...column.name },
    branch: { ...column.name },
    path: { ...column.name },
    status: { ...column.name },
    lastSyncedCommit: { ...column.nullableId },
    lastSyncedAt: { ...column.nullableTime },
    lastError: { ...column.nullableText },
    connectedById: { ...column.id },
    createdAt: { ...column.time },
    taskId: { ...column.nullableId },
    runningTaskId: { ...column.nullableId },
    manifestOid: { ...column.nullableId },
    manifestTaskId: { ...column.nullableId },
    manifestVersionId: { ...column.nullableId },
  },
  indices: [{ columns: ["followerId"], unique: true }, { columns: ["fullName", "branch"] }, { columns: ["toolId"] }],
});

export const syncedFileEntity = new EntitySchema<SyncedFileRow>({
  name: "github_files",
  columns: {
    connectionId: { ...column.primaryId },
    path: { ...column.name, primary: true },
    documentId: { ...column.id },
    oid: { ...column.nullableId },
    digest: { ...column.nullableId },
  },
});

export const deliveryEntity = new EntitySchema<DeliveryRow>({
  name: "github_deliveries",
  columns: {
    id: { ...column.primaryId },
    receivedAt: { ...column.time },
    finished: { ...column.flag },
  },
  indices: [{ columns: ["receivedAt"] }],
});

export const connectionEntities = [connectionEntity, syncedFileEntity, deliveryEntity];
