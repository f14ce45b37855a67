import { newId } from "@toolyard/service-kit";
import { deleteInChunks, dialectOf, insertIfAbsent, type Database } from "@toolyard/storage";
import { In, IsNull, LessThan, Not } from "typeorm";
import {
  connectionEntity,
  deliveryEntity,
  syncedFileEntity,
  type ConnectionRow,
  type SyncedFileRow,
} from "./connection-database.ts";
import type { GitHubConnection, ConnectionPlace, SyncedFile } from "./connection.ts";
import type { ConnectionStore } from "./connection-store.ts";

export function createSqlConnectionStore(database: Database): ConnectionStore {
  const connections = () => database.read.getRepository(connectionEntity);

  const change = (where: object, changes: Partial<ConnectionRow>) =>
    database.transaction(async ({ manager }) => {
      const { affected } = await manager.getRepository(connectionEntity).update(where, changes);
      return (affected ?? 0) > 0;
    });

  return {
    connect: (place, { connectedById, lastError, now }) =>
      database.transaction(async ({ manager }) => {
        const rows = manager.getRepository(connectionEntity);
        const { toolId, branch, path } = place;
        // A tool follows one place; the row that says so may not be there yet.
        await dialectOf(manager).lock(manager, "connections");
        if (await rows.existsBy({ followerId: toolId })) return "following";
        const earlier = await rows.findOneBy({ toolId, fullName: fullNameOf(place), branch, path });
        const row: ConnectionRow = {
          ...(earlier ?? {
            ...place,
            id: newId(),
            fullName: fullNameOf(place),
            lastSyncedCommit: null,
            lastSyncedAt: null,
            createdAt: now,
            taskId: null,
            runningTaskId: null,
            manifestTaskId: null,
            manifestVersionId: null,
          }),
          followerId: toolId,
          status: "CONNECTED",
          lastError,
          connectedById,
          // The tool may have gone other ways meanwhile: the file's word counts again.
          manifestOid: null,
        };
        await rows.save(row);
        return connectionOf(row);
      }),

    async disconnect(id) {
      await change({ id }, { status: "DISCONNECTED", followerId: null, runningTaskId: null, lastError: null });
    },

    findByIds: async (ids) => (await connections().findBy({ id: In(ids) })).map(connectionOf),
    ofTools: async (toolIds) => (await connections().findBy({ followerId: In(toolIds) })).map(connectionOf),
    following: async (place) =>
      (
        await connections().findBy({ fullName: fullNameOf(place), branch: place.branch, followerId: Not(IsNull()) })
      ).map(connectionOf),
    syncing: async () => (await connections().findBy({ status: "SYNCING" })).map(connectionOf),

    queued: (id, taskId, after) => change({ id, taskId: after ?? IsNull(), followerId: Not(IsNull()) }, { taskId }),

    begin: (id, taskId, instead) =>
      database.transaction(async ({ manager }) => {
        const rows = manager.getRepository(connectionEntity);
        const row = await rows.findOne({ where: { id }, ...dialectOf(manager).forUpdate });
        if (!row || row.followerId === null) return null;
        const { runningTaskId } = row;
        if (runningTaskId !== null && runningTaskId !== taskId && runningTaskId !== instead) return runningTaskId;
        await rows.update({ id }, { runningTaskId: taskId, status: "SYNCING" });
        return taskId;
      }),

    async adopted(id, taskId, { oid, versionId, isNew }) {
      const changes = { manifestOid: oid, manifestVersionId: versionId, manifestTaskId: isNew ? taskId : null };
      await change({ id, runningTaskId: taskId }, changes);
    },

    async renamed(id, taskId, name) {
      await change({ id, runningTaskId: taskId }, { ...name, fullName: fullNameOf(name) });
    },
    end: (id, taskId, outcome) =>
      database.transaction(async ({ manager }) => {
        const rows = manager.getRepository(connectionEntity);
        const row = await rows.findOne({ where: { id, runningTaskId: taskId }, ...dialectOf(manager).forUpdate });
        if (!row) return;
        const error = outcome === null ? row.lastError : "error" in outcome ? outcome.error : null;
        await rows.update(
          { id },
          {
            runningTaskId: null,
            status: error === null ? "CONNECTED" : "FAILED",
            lastError: error,
            ...(outcome && "commitSha" in outcome && { lastSyncedCommit: outcome.commitSha, lastSyncedAt: outcome.at }),
          },
        );
      }),

    filesOf: async (connectionId) =>
      (await database.read.getRepository(syncedFileEntity).findBy({ connectionId })).map(fileOf),
    putFile: (connectionId, file) =>
      database.transaction(async ({ manager }) => {
        await manager.getRepository(syncedFileEntity).save({ ...file, connectionId });
      }),
    removeFile: (connectionId, path) =>
      database.transaction(async ({ manager }) => {
        await manager.getRepository(syncedFileEntity).delete({ connectionId, path });
      }),

    beginDelivery: (id, now, staleBefore) =>
      database.transaction(async ({ manager }) => {
        const rows = manager.getRepository(deliveryEntity);
        if (await insertIfAbsent(manager, deliveryEntity, { id, receivedAt: now, finished: false })) return true;
        const stale = { id, finished: false, receivedAt: LessThan(staleBefore) };
        return Boolean((await rows.update(stale, { receivedAt: now })).affected);
      }),
    finishDelivery: (id) =>
      database.transaction(async ({ manager }) => {
        await manager.getRepository(deliveryEntity).update({ id }, { finished: true });
      }),
    forgetDelivery: (id) =>
      database.transaction(async ({ manager }) => {
        await manager.getRepository(deliveryEntity).delete({ id });
      }),
    trimDeliveries: (at, work) => deleteInChunks(database, deliveryEntity, { receivedAt: LessThan(at) }, work),
  };
}

const fullNameOf = ({ owner, repository }: Pick<ConnectionPlace, "owner" | "repository">) =>
  `${owner}/${repository}`.toLowerCase();

function connectionOf({
  followerId: _followerId,
  fullName: _fullName,
  ...connection
}: ConnectionRow): GitHubConnection {
  return connection;
}

function fileOf({ connectionId: _connectionId, ...file }: SyncedFileRow): SyncedFile {
  return file;
}
