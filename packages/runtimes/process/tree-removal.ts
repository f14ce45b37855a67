import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readdirSync, renameSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { systemCodeOf } from "@toolyard/service-kit/errors/errors.ts";
import { unlessGone } from "./process-table.ts";

/** In the names of folders that are being removed; in no others. */
const REMOVED = ".removed";
const run = promisify(execFile);
/** NixOS has programs elsewhere. */
const options = { env: { PATH: "/usr/bin:/bin:/run/current-system/sw/bin" } };

/**
 * Removes a folder with all that replicas left in it, as read-only folders, sockets, a great many files, folders without end. Once this was called the
 * name is free, for a start that uses it meanwhile. Replicas can write to what lies in the folder, but not to the folder that it is in.
 */
export async function removeTree(folder: string): Promise<void> {
  const aside = `${folder}${REMOVED}-${randomUUID()}`;
  if (isDone(() => renameSync(folder, aside), ["ENOENT"])) await remove(aside);
}

/** Removes what removals in these folders left that were not completed; what is put aside from now on is not looked at. */
export async function completeRemovals(parents: readonly string[]): Promise<void> {
  const left = parents.flatMap((parent) =>
    (unlessGone(() => readdirSync(parent)) ?? []).filter(isBeingRemoved).map((name) => join(parent, name)),
  );
  for (const folder of left) await remove(folder);
}

/** @param name Without the folder that it is in */
export function isBeingRemoved(name: string): boolean {
  return name.includes(REMOVED);
}

/**
 * Not by Node's `rm`, which goes by paths: of a folder that a process swaps for a link in that moment it removes what the link leads to. `rm` opens
 * folder by folder, and follows no link.
 */
async function remove(folder: string): Promise<void> {
  // Most are empty, for which no program need be run.
  if (isDone(() => rmdirSync(folder), ["ENOTEMPTY", "EEXIST", "ENOTDIR", "EACCES"])) return;
  try {
    await run("rm", ["-rf", "--", folder], options);
  } catch {
    // Folders that a replica closed, where Toolyard is not root.
    await run("chmod", ["-R", "u+rwx", "--", folder], options);
    await run("rm", ["-rf", "--", folder], options);
  }
}

/** Whether it worked; `unless` are the system's codes for what is no error. */
function isDone(work: () => void, unless: readonly string[]): boolean {
  try {
    work();
    return true;
  } catch (error) {
    if (unless.includes(systemCodeOf(error) ?? "")) return false;
    throw error;
  }
}
