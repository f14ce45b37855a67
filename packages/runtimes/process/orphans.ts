import { readFileSync, readlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { createCgroups } from "./cgroups.ts";
import type { ProcessTable } from "./process-table.ts";
import { recordPaths, type SpawnedRecord } from "./replica-records.ts";
import type { Target } from "./termination.ts";
import { unlessGone } from "./process-table.ts";

/** A replica whose folder was removed while it ran: no Toolyard can find it by its record or reach it any more. */
export interface Orphan {
  target: Target;
  /** Whose it was; null where that cannot be seen. */
  ownerId: string | null;
}

/** The mark of the system for an open file that has been deleted. */
const DELETED = " (deleted)";

/**
 * Replicas of this folder, or of the records in `elsewhere` (which came here from another folder), that no Toolyard owns any more: a backup
 * took the place of their DATA_DIR, or it was moved to another file system. Replicas whose folder still exists are that folder's.
 * Empty where the host has no /proc.
 * @param root The folder that has one folder for each replica, without symbolic links.
 */
export async function findOrphans(options: {
  root: string;
  elsewhere: readonly SpawnedRecord[];
  table: ProcessTable;
}): Promise<Orphan[]> {
  const { root, elsewhere, table } = options;
  const found = new Map<number, Orphan>();
  const all = await table.scan();
  for (const { pid, groupId } of all) {
    for (const output of outputsOf(pid)) {
      if (!output.endsWith(DELETED)) continue;
      const folder = dirname(output);
      const main = all.find((entry) => entry.pid === groupId);
      const record = elsewhere.find((each) => each.pid === groupId && each.startToken === main?.startToken);
      const name = record?.name ?? folder.slice(root.length + 1);
      const path = output.slice(0, -DELETED.length);
      const { stdout, stderr } = recordPaths(record ? dirname(folder) : root, name);
      if (path !== stdout && path !== stderr) continue;
      const ownerId = ownerOf(pid, name);
      const cgroups = ownerId === null ? [] : createCgroups({ ownerId }).find(name);
      found.set(groupId, { ownerId, target: { name, main: main ?? null, cgroups } });
    }
  }
  return [...found.values()];
}

/** Where a process' output goes; empty where that cannot be seen. */
export function outputsOf(pid: number): string[] {
  return [1, 2].flatMap((fd) => unlessGone(() => readlinkSync(`/proc/${pid}/fd/${fd}`)) ?? []);
}

function ownerOf(pid: number, name: string): string | null {
  const groups = unlessGone(() => readFileSync(join("/proc", String(pid), "cgroup"), "utf8")) ?? "";
  return new RegExp(`/toolyard-([A-Za-z0-9-]+)-${name}/`).exec(groups)?.[1] ?? null;
}
