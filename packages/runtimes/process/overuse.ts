import { statfsSync } from "node:fs";
import type { Cgroups } from "./cgroups.ts";
import { diskUse, unlinkedUse } from "./disk-use.ts";
import type { ProcessTable } from "./process-table.ts";
import type { ReplicaRecord } from "./replica-records.ts";
import { allowanceOf } from "../resources.ts";

const MIB = 1024 * 1024;
/** More output than this within a second is no log, and keeps the disk busy however often it is rotated. */
const MAX_OUTPUT_PER_SECOND = 64 * MIB;
/** Walking through replicas' folders costs: they are measured when the file system lost this much, or so long after the last time. */
const FREE_SPACE_STEP = 16 * MIB;
const FREE_FILES_STEP = 4_096;
/** Of all replicas of one user together. */
const MAX_CACHE_MB = 16_384;
const MEASURE_AGAIN_MS = 60_000;

/** Says when a replica uses more than it may. Each answer is a clause that goes on from "it", or null. */
export interface Overuse {
  /** @param replica Its identity while it runs @param bytes Printed since the last call */
  ofOutput(replica: object, bytes: number, now: number): string | null;
  ofMemoryAndProcesses(record: ReplicaRecord, pids: number[]): string | null;
  /** Why the kernel ended it or one of its processes before its use was measured. */
  ofMemoryAlready(record: ReplicaRecord): string | null;
  /** Whether it is time to measure the disk. To be asked often. */
  isDiskDue(now: number): boolean;
  /** @param folders Those that it alone writes to @param pids Of its processes */
  ofDisk(record: ReplicaRecord, folders: readonly string[], pids: readonly number[]): Promise<string | null>;
  /** @param folder With the caches of a user's deployments */
  ofCache(folder: string): Promise<string | null>;
}

export function createOveruse(options: { root: string; table: ProcessTable; cgroups: Cgroups }): Overuse {
  const { root, table, cgroups } = options;
  /** For each replica that prints, its bytes of output since a time. */
  const seconds = new WeakMap<object, { since: number; bytes: number }>();
  let measured: { at: number; bytes: number; files: number } | null = null;

  return {
    ofOutput(replica, bytes, now) {
      const second = seconds.get(replica);
      if (second === undefined || now - second.since >= 1_000) {
        seconds.delete(replica);
        if (bytes > 0) seconds.set(replica, { since: now, bytes });
      } else second.bytes += bytes;
      const printed = seconds.get(replica)?.bytes ?? 0;
      return printed > MAX_OUTPUT_PER_SECOND ? `printed ${Math.ceil(printed / MIB)} MiB within a second` : null;
    },
    ofMemoryAndProcesses(record, pids) {
      const { memoryMb, processes } = allowanceOf({ cpus: null, ...record });
      if (pids.length > processes) return `had ${pids.length} processes, where ${processes} are allowed`;
      const bytes = table.memoryOf(pids);
      if (bytes === null || bytes <= memoryMb * MIB) return null;
      return `used ${Math.ceil(bytes / MIB)} MiB of memory, where ${memoryMb} MiB are allowed`;
    },
    ofMemoryAlready(record) {
      const { memoryMb } = allowanceOf({ cpus: null, ...record });
      return cgroups.ranOutOfMemory(record.cgroups) ? `used more than its ${memoryMb} MiB of memory` : null;
    },
    isDiskDue(now) {
      const { bavail, bsize, ffree: files } = statfsSync(root);
      const bytes = bavail * bsize;
      if (measured) {
        // Space that others free must not hide the use of a replica.
        measured.bytes = Math.max(measured.bytes, bytes);
        measured.files = Math.max(measured.files, files);
        const isLess = measured.bytes - bytes >= FREE_SPACE_STEP || measured.files - files >= FREE_FILES_STEP;
        if (!isLess && now - measured.at < MEASURE_AGAIN_MS) return false;
      }
      measured = { at: now, bytes, files };
      return true;
    },
    async ofDisk(record, folders, pids) {
      const { diskMb } = allowanceOf({ cpus: null, ...record });
      const bytes = await diskUse(folders, diskMb * MIB);
      if (bytes === Infinity) return "keeps files where they cannot be counted";
      const all = bytes + (await unlinkedUse(pids, root));
      return all > diskMb * MIB ? `filled its ${diskMb} MiB of disk` : null;
    },
    async ofCache(folder) {
      const bytes = await diskUse([folder], MAX_CACHE_MB * MIB);
      if (bytes === Infinity) return "or its user's others keep files where they cannot be counted";
      return bytes > MAX_CACHE_MB * MIB ? `and its user's others filled package caches of ${MAX_CACHE_MB} MiB` : null;
    },
  };
}
