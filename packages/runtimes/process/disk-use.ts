import { lstatSync, opendirSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as yieldToEventLoop } from "node:timers/promises";
import { systemCodeOf } from "@toolyard/service-kit/errors/errors.ts";

/** Files are counted, too: a great many empty ones fill a disk's table of files. */
const BYTES_OF_AN_ENTRY = 4_096;
/** `man 2 stat`: the unit of `blocks`, whatever the file system's own. */
const BLOCK_BYTES = 512;
const GONE = new Set(["ENOENT", "ENOTDIR", "ESRCH"]);
/** Closed to us by its owner, who is our own user, or too deep to be reached. */
const CLOSED = new Set(["EACCES", "ELOOP", "ENAMETOOLONG"]);
const OUT_OF_REACH = new Set([...GONE, ...CLOSED, "EPERM"]);
const AT_A_TIME_MS = 2;

/**
 * Bytes on the disk of all files below `folders`; counting stops above `enough`. Links are not followed. Files that come or go
 * meanwhile may be counted or not. Infinite when something cannot be counted.
 */
export async function diskUse(folders: readonly string[], enough: number): Promise<number> {
  const pauses = createPauses();
  let bytes = 0;
  const open = [...folders];
  try {
    for (let folder = open.pop(); folder !== undefined && bytes <= enough; folder = open.pop()) {
      const directory = unless(GONE, () => opendirSync(folder));
      if (directory === null) continue;
      try {
        for (let entry = directory.readSync(); entry !== null && bytes <= enough; entry = directory.readSync()) {
          const path = join(folder, entry.name);
          if (entry.isDirectory()) open.push(path);
          const blocks = unless(GONE, () => lstatSync(path).blocks);
          if (blocks !== null) bytes += Math.max(blocks * BLOCK_BYTES, BYTES_OF_AN_ENTRY);
          if (pauses.isDue()) await pauses.take();
        }
      } finally {
        directory.closeSync();
      }
    }
  } catch (error) {
    if (CLOSED.has(systemCodeOf(error) ?? "")) return Infinity;
    throw error;
  }
  return bytes;
}

/** Bytes of deleted files on the disk of `folder` that processes still hold open. Linux only; 0 elsewhere. */
export async function unlinkedUse(pids: readonly number[], folder: string): Promise<number> {
  const pauses = createPauses();
  const sizes = new Map<number, number>();
  const device = unless(GONE, () => statSync(folder).dev);
  for (const path of pids.flatMap(descriptorsOf)) {
    const file = unless(OUT_OF_REACH, () => statSync(path));
    if (file?.isFile() && file.nlink === 0 && file.dev === device) sizes.set(file.ino, file.blocks * BLOCK_BYTES);
    if (pauses.isDue()) await pauses.take();
  }
  return [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0);
}

function descriptorsOf(pid: number): string[] {
  const folder = `/proc/${pid}/fd`;
  return (unless(OUT_OF_REACH, () => readdirSync(folder)) ?? []).map((name) => join(folder, name));
}

/**
 * For work on one file after the other: done by Node's threads, each file would wake two of them and take ten times the CPU; done
 * here, everything else has its turn in between.
 */
function createPauses() {
  let since = performance.now();
  return {
    isDue: () => performance.now() - since > AT_A_TIME_MS,
    async take() {
      await yieldToEventLoop();
      since = performance.now();
    },
  };
}

/** Null where it fails with one of these codes. */
function unless<Value>(codes: ReadonlySet<string>, work: () => Value): Value | null {
  try {
    return work();
  } catch (error) {
    if (codes.has(systemCodeOf(error) ?? "")) return null;
    throw error;
  }
}
