import { lstat, opendir, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { systemCodeOf } from "@toolyard/service-kit/errors.ts";

/** Files are counted, too: a great many empty ones fill a disk's table of files. */
const BYTES_OF_AN_ENTRY = 4_096;
/** `man 2 stat`: the unit of `blocks`, whatever the file system's own. */
const BLOCK_BYTES = 512;
const GONE = new Set(["ENOENT", "ENOTDIR", "ESRCH"]);
/** Closed to us by its owner, who is our own user, or too deep to be reached. */
const CLOSED = new Set(["EACCES", "ELOOP", "ENAMETOOLONG"]);

/**
 * What files below `folders` take on the disk, in bytes; it stops counting above `enough`. Links are not followed. What
 * comes and goes meanwhile may be counted or not. Infinite where something is kept from being counted.
 */
export async function diskUse(folders: readonly string[], enough: number): Promise<number> {
  let bytes = 0;
  const open = [...folders];
  for (let folder = open.pop(); folder !== undefined && bytes <= enough; folder = open.pop()) {
    try {
      for await (const entry of await opendir(folder)) {
        const path = join(folder, entry.name);
        if (entry.isDirectory()) open.push(path);
        const { blocks } = await lstat(path);
        bytes += Math.max(blocks * BLOCK_BYTES, BYTES_OF_AN_ENTRY);
        if (bytes > enough) break;
      }
    } catch (error) {
      const code = systemCodeOf(error) ?? "";
      if (CLOSED.has(code)) return Infinity;
      if (!GONE.has(code)) throw error;
    }
  }
  return bytes;
}

/** What processes still have of files on the disk of `folder` that no folder has any more, in bytes. Linux only; 0 elsewhere. */
export async function unlinkedUse(pids: readonly number[], folder: string): Promise<number> {
  const sizes = new Map<number, number>();
  try {
    const { dev } = await stat(folder);
    for (const path of (await Promise.all(pids.map(descriptorsOf))).flat()) {
      const file = await unlessGone(() => stat(path));
      if (file?.isFile() && file.nlink === 0 && file.dev === dev) sizes.set(file.ino, file.blocks * BLOCK_BYTES);
    }
  } catch (error) {
    if (!GONE.has(systemCodeOf(error) ?? "")) throw error;
  }
  return [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0);
}

async function descriptorsOf(pid: number): Promise<string[]> {
  const folder = `/proc/${pid}/fd`;
  return ((await unlessGone(() => readdir(folder))) ?? []).map((name) => join(folder, name));
}

async function unlessGone<Value>(work: () => Promise<Value>): Promise<Value | null> {
  try {
    return await work();
  } catch (error) {
    const code = systemCodeOf(error) ?? "";
    if (GONE.has(code) || CLOSED.has(code) || code === "EPERM") return null;
    throw error;
  }
}
