import { randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemCodeOf } from "@toolyard/service-kit/errors/errors.ts";
import { z } from "zod";
import { removeTree } from "./tree-removal.ts";

/**
 * What is kept on disk of a replica so that a later process finds it. No secrets but what its log is read by, which lies beside it.
 * `pid` is null between "about to spawn" and "spawned": a process that is killed over in between ends by itself. It is, too, of what ran elsewhere
 * when this DATA_DIR was copied; that has `ended`.
 */
const replicaRecord = z.object({
  version: z.literal(1),
  ownerId: z.string(),
  name: z.string(),
  replicaId: z.string(),
  deploymentId: z.string(),
  /** Whose deployment it is. */
  userId: z.string().default(""),
  /** Paths of the host that its launch may write to. */
  writablePaths: z.array(z.string()).default([]),
  /** Where it answers; "" where that was lost. */
  url: z.string().default(""),
  /** Marks the lines in its log that Toolyard wrote. A replica from before there were marks gets a new one. */
  logKey: z.string().default(() => randomUUID()),
  memoryMb: z.number().nullable(),
  processes: z.number().nullable().default(null),
  diskMb: z.number().nullable().default(null),
  /** The folders of its control group. */
  cgroups: z.array(z.string()).default([]),
  createdAt: z.number(),
  pid: z.number().int().positive().nullable(),
  startToken: z.string().nullable(),
  startedAt: z.number().nullable(),
  ended: z
    .object({
      at: z.number(),
      exitCode: z.number().nullable(),
      signal: z.string().nullable(),
      detail: z.string().nullable(),
      /** What it used too much of, in a sentence, where it was killed for that. */
      why: z.string().optional(),
    })
    .nullable(),
});

export type ReplicaRecord = z.infer<typeof replicaRecord>;
/** A record of a replica that was spawned. */
export type SpawnedRecord = ReplicaRecord & { pid: number; startToken: string; startedAt: number };

export function wasSpawned(record: ReplicaRecord | undefined): record is SpawnedRecord {
  return record !== undefined && record.pid !== null && record.startToken !== null && record.startedAt !== null;
}

/** Names of files in a replica's folder. */
export interface ReplicaPaths {
  folder: string;
  record: string;
  work: string;
  temporary: string;
  sharedMemory: string;
  stdout: string;
  stderr: string;
  /** Where its bridge listens. Outside of what the replica itself sees under bubblewrap. */
  socket: string;
}

export interface ReplicaRecords {
  pathsOf(name: string): ReplicaPaths;
  /** Makes the replica's folders. */
  makeFolders(name: string): void;
  /** Replaces the record, atomically. Synchronous, so that nothing comes between a spawn and its record. */
  write(record: ReplicaRecord): void;
  /** Removes the replica's folder with all in it. */
  remove(name: string): Promise<void>;
  /** Removes the socket of the bridge of a replica that is gone. */
  removeSocket(name: string): void;
  /** Removes the replica's temporary files. */
  removeTemporary(name: string): Promise<void>;
}

export function recordPaths(root: string, name: string): ReplicaPaths {
  const folder = join(root, name);
  return {
    folder,
    record: join(folder, "replica.json"),
    work: join(folder, "work"),
    temporary: join(folder, "tmp"),
    sharedMemory: join(folder, "shm"),
    stdout: join(folder, "stdout.log"),
    stderr: join(folder, "stderr.log"),
    socket: join(folder, "bridge.sock"),
  };
}

/** Every record that lies there, whosever it is. `onUnreadable` is told of one that cannot be read; it is left alone. */
export function readRecords(root: string, onUnreadable: (path: string, error: unknown) => void): ReplicaRecord[] {
  const records: ReplicaRecord[] = [];
  for (const name of namesIn(root)) {
    const path = recordPaths(root, name).record;
    try {
      const record = replicaRecord.parse(JSON.parse(readFileSync(path, "utf8")));
      if (record.name === name) records.push(record);
    } catch (error) {
      if (systemCodeOf(error) !== "ENOENT" && systemCodeOf(error) !== "ENOTDIR") onUnreadable(path, error);
    }
  }
  return records;
}

export function createReplicaRecords(options: {
  /** Absolute path of the folder that has one folder for each replica. */
  root: string;
}): ReplicaRecords {
  const { root } = options;
  const pathsOf = (name: string): ReplicaPaths => recordPaths(root, name);
  return {
    pathsOf,
    makeFolders(name) {
      const { work, temporary, sharedMemory } = pathsOf(name);
      for (const folder of [work, temporary, sharedMemory]) mkdirSync(folder, { recursive: true, mode: 0o700 });
    },
    write(record) {
      const path = pathsOf(record.name).record;
      const draft = `${path}.${randomUUID()}`;
      writeFileSync(draft, JSON.stringify(record), { mode: 0o600 });
      renameSync(draft, path);
    },
    remove: (name) => removeTree(pathsOf(name).folder),
    removeSocket: (name) => rmSync(pathsOf(name).socket, { force: true }),
    async removeTemporary(name) {
      const { temporary, sharedMemory } = pathsOf(name);
      await Promise.all([removeTree(temporary), removeTree(sharedMemory)]);
    },
  };
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return [];
    throw error;
  }
}
