import { createPathFilter, openSnapshot, type GitHubClient, type RepositorySnapshot } from "@toolyard/github";
import {
  ROLES,
  ToolyardError,
  badInput,
  createUserCaller,
  type Caller,
  type GraphClient,
  type Logger,
} from "@toolyard/service-kit";
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

/** How often syncs are looked for whose task has ended without them. */
const LOST_SYNCS_MS = 60_000;

const USER = "query UserOfConnection($id: ID!) { user(id: $id) { role disabled } }";
const userAnswer = z.object({ user: z.object({ role: z.enum(ROLES), disabled: z.boolean() }).nullable() });

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
  /** Says what users may do now. */
  graph: Pick<GraphClient, "query">;
  tasks: TaskQueue;
  now: () => number;
}): TaskHandler {
  const { store, tools, documents, github, graph, tasks, now } = options;

  /** Whoever connected the repository, with the rights that they have now. */
  async function actorOf({ connectedById }: GitHubConnection, signal: AbortSignal): Promise<Caller> {
    const as = createUserCaller(connectedById, "VIEWER", ["READ"]);
    const { user } = userAnswer.parse(await graph.query({ query: USER, variables: { id: connectedById }, as, signal }));
    if (user === null || user.disabled) throw notAllowed(user === null ? "is no longer there" : "is disabled");
    return createUserCaller(connectedById, user.role);
  }

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
    if (!file) {
      const isNearly = (name: string) => name.toLowerCase().replace(/\.yml$/, ".yaml") === MANIFEST_NAME;
      const [other] = await snapshot.list(path, { matches: isNearly, mayHold: (inside) => inside === "" }, 9);
      const hint = other ? `Rename ${other.path}.` : "Add one, or connect the folder that has it.";
      throw new ToolyardError("NOT_FOUND", `The branch has no ${at} at ${snapshot.commitSha.slice(0, 7)}. ${hint}`);
    }
    for await (const { text } of snapshot.read([file]))
      if (text !== null) return { oid: file.oid, manifest: parseManifest(text) };
    throw badInput([{ path: at, message: "is no text, or too large" }]);
  }

  return async ({ task, input, signal, progress }) => {
    const { connectionId } = syncJob.parse(input);
    progress(0, "Waiting for its turn");
    const connection = await turnOf(connectionId, task.id, signal);
    try {
      const { owner, repository, branch, toolId } = connection;
      const actor = await actorOf(connection, signal);
      progress(0.05, "Reading the branch");
      const snapshot = await openSnapshot(
        github,
        { owner, name: repository, revision: `refs/heads/${branch}` },
        signal,
      );
      const { commitSha } = snapshot;
      const isNow = { owner: snapshot.repository.owner, repository: snapshot.repository.name };
      const isRenamed = `${owner}/${repository}`.toLowerCase() !== `${isNow.owner}/${isNow.repository}`.toLowerCase();
      if (isRenamed) await store.renamed(connectionId, task.id, isNow);
      const { oid, manifest } = await manifestAt(snapshot, connection);
      progress(0.15, "Comparing the tool");
      const { manifestOid, manifestVersionId } = connection;
      const last =
        manifestOid === null || manifestVersionId === null
          ? null
          : { isSame: manifestOid === oid, versionId: manifestVersionId };
      const { tool, isNew, warnings } = await tools
        .adopt(actor, toolId, { manifest, commitSha, last })
        .catch((error: unknown) => {
          const isForbidden = error instanceof ToolyardError && error.code === "FORBIDDEN";
          throw isForbidden ? notAllowed("may not change this tool any more") : error;
        });
      if (isRenamed)
        warnings.unshift(
          `The repository ${owner}/${repository} is ${isNow.owner}/${isNow.repository} now, which the tool follows from here on.`,
        );
      const versionId = tool.currentVersionId;
      if (last?.isSame !== true) await store.adopted(connectionId, task.id, { oid, versionId, isNew });
      const stored = await documents.bring(
        { ...connection, ...isNow },
        {
          ownerId: tool.authorId,
          patterns: manifest.knowledge,
          snapshot,
          signal,
          progress,
        },
      );
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

function notAllowed(why: string): ToolyardError {
  return new ToolyardError(
    "FORBIDDEN",
    `A sync acts for whoever connected the repository, and this user ${why}. Somebody who may change the tool disconnects the repository and connects it again: its documents and versions stay.`,
  );
}

/** Gives connections back whose sync ended without a word, as where its process died in every attempt; until it is aborted. */
export async function endLostSyncs(options: {
  store: Pick<ConnectionStore, "syncing" | "end">;
  tasks: TaskQueue;
  logger: Pick<Logger, "error">;
  signal: AbortSignal;
}): Promise<void> {
  const { store, tasks, logger, signal } = options;

  async function sweep(): Promise<void> {
    const syncing = await store.syncing();
    const found = await tasks.store.getMany(syncing.flatMap(({ runningTaskId }) => runningTaskId ?? []));
    const byId = new Map(found.flatMap((task) => (task ? [[task.id, task] as const] : [])));
    for (const { id, runningTaskId } of syncing) {
      if (runningTaskId === null) continue;
      const task = byId.get(runningTaskId);
      if (task?.status === "QUEUED" || task?.status === "RUNNING") continue;
      const why = task?.error?.message ?? "The task of this sync is gone.";
      await store.end(id, runningTaskId, task?.status === "CANCELLED" ? null : { error: `${why} Sync again.` });
    }
  }

  while (!signal.aborted) {
    await sweep().catch((error: unknown) => {
      if (!signal.aborted) logger.error({ err: error }, "syncs whose task has ended could not be looked for");
    });
    await delay(LOST_SYNCS_MS, undefined, { signal, ref: false }).catch(() => {});
  }
}
