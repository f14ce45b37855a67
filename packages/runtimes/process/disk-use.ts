import { lstat, opendir } from "node:fs/promises";
import { join } from "node:path";
import { systemCodeOf } from "@toolyard/service-kit/errors.ts";

/** Files are counted, too: a great many empty ones fill a disk's table of files. */
const BYTES_OF_AN_ENTRY = 4_096;
/** `man 2 stat`: the unit of `blocks`, whatever the file system's own. */
const BLOCK_BYTES = 512;

/**
 * What files below `folders` take on the disk, in bytes; it stops counting above `enough`. Links are not followed. What
 * comes and goes meanwhile may be counted or not.
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
      // Gone meanwhile, or closed to us by its owner, who is us: then its content stays uncounted, but not its growth elsewhere.
      if (!["ENOENT", "EACCES", "ENOTDIR"].includes(systemCodeOf(error) ?? "")) throw error;
    }
  }
  return bytes;
}
