import { createPathFilter, openSnapshot, type GitHubClient, type RepositorySnapshot } from "@toolyard/github";
import { ToolyardError, badInput, createUserCaller } from "@toolyard/service-kit";
import type { SyncResult, TaskHandler, TaskQueue } from "@toolyard/tasks";
import { taskErrorOf } from "@toolyard/tasks/retry.ts";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import type { ToolService } from "../tool-service.ts";
import type { GitHubConnection } from "./connection.ts";
import type { ConnectionStore } from "./connection-store.ts";
import { MANIFEST_NAME, parseManifest, type Manifest } from "./manifest.ts";
import type { SyncedDocuments } from "./synced-documents.ts";

/** Each time that GitHub asks for patience takes one. */
export const SYNC_ATTEMPTS = 6;
/** How often a sync looks whether another one of its connection has ended. */
const TURN_POLL_MS = 250;

const syncJob = z.object({ connectionId: z.string() });
export type SyncJob = z.infer<typeof syncJob>;

type Report = Omit<SyncResult, "__typename">;

/**
 * Tasks of kind REPOSITORY_SYNC, one at a time for each connection: the tool is brought in line with `toolyard.yaml` at the branch's head, then
 * the documents with the files that it lists. May be run again at any point.
 */
export function createSyncHandler(options: {
  store: ConnectionStore;
  tools: Pick<ToolService, "adopt">;
  documents: SyncedDocuments;
  github: GitHubClient;
  tasks: TaskQueue;
  now: () => number;
}): TaskHandler {
  const { store, tools, documents, github, tasks, now } = options;

  async function turnOf(connectionId: string, taskId: string, signal: AbortSignal): Promise<GitHubConnection> {
    for (let instead: string | null = null; ;) {
      const holder = await store.begin(connectionId, taskId, instead);
      if (holder === null)
        throw new ToolyardError("CONFLICT", "The tool follows this repository no longer. Connect it again to sync it.");
      if (holder === taskId) break;
      const [other] = await tasks.store.getMany([holder]);
      instead = other?.status === "RUNNING" ? null : holder;
      if (instead === null) await delay(TURN_POLL_MS, undefined, { signal });
    }
    const [connection] = await store.findByIds([connectionId]);
    if (!connection) throw new Error(`The connection ${connectionId} is gone.`);
    return connection;
  }

  async function manifestAt(
    snapshot: RepositorySnapshot,
    { path }: GitHubConnection,
  ): Promise<{ oid: string; manifest: Manifest }> {
    const [file] = await snapshot.list(path, createPathFilter([MANIFEST_NAME]), 1);
    const at = path === "" ? MANIFEST_NAME : `${path}/${MANIFEST_NAME}`;
    if (!file)
      throw new ToolyardError(
        "NOT_FOUND",
        `The branch has no ${at} at ${snapshot.commitSha.slice(0, 7)}. Add one, or connect the folder that has it.`,
      );
    for await (const { text } of snapshot.read([file]))
      if (text !== null) return { oid: file.oid, manifest: parseManifest(text) };
    throw badInput([{ path: at, message: "is no text, or too large" }]);
  }

  return async ({ task, input, signal, progress }) => {
    const { connectionId } = syncJob.parse(input);
    progress(0, "Waiting for its turn");
    const connection = await turnOf(connectionId, task.id, signal);
    try {
      const { owner, repository, branch, connectedById, toolId } = connection;
      progress(0.05, "Reading the branch");
      const snapshot = await openSnapshot(
        github,
        { owner, name: repository, revision: `refs/heads/${branch}` },
        signal,
      );
      const { commitSha } = snapshot;
      const { oid, manifest } = await manifestAt(snapshot, connection);
      progress(0.15, "Comparing the tool");
      const { manifestOid, manifestVersionId } = connection;
      const last =
        manifestOid === null || manifestVersionId === null
          ? null
          : { isSame: manifestOid === oid, versionId: manifestVersionId };
      const { tool, isNew, warnings } = await tools.adopt(createUserCaller(connectedById, "ADMIN"), toolId, {
        manifest,
        commitSha,
        last,
      });
      const versionId = tool.currentVersionId;
      if (last?.isSame !== true) await store.adopted(connectionId, task.id, { oid, versionId, isNew });
      const stored = await documents.bring(connection, {
        ownerId: tool.authorId,
        patterns: manifest.knowledge,
        snapshot,
        signal,
        progress,
      });
      await store.end(connectionId, task.id, { commitSha, at: now() });
      // An earlier run of this task may have made it.
      const madeBefore = connection.manifestTaskId === task.id ? manifestVersionId : null;
      return {
        commitSha,
        toolVersionId: isNew ? versionId : madeBefore,
        documentIds: stored.documentIds,
        warnings: [...warnings, ...stored.warnings],
      } satisfies Report;
    } catch (error) {
      await store.end(connectionId, task.id, signal.aborted ? null : { error: taskErrorOf(error).message });
      throw error;
    }
  };
}
