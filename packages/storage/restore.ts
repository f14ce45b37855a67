import { copyFile, mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { preconditionFailed } from "@toolyard/service-kit";
import { namesIn, placeFor, refuse, removeEmpty, syncPrivately, unwritten, withoutLinks } from "./backup-folders.ts";
import { contentsOf, readManifest, rowsOf } from "./backup-manifest.ts";
import { copyTree } from "./copy-tree.ts";

/**
 * Makes DATA_DIR of a backup, which is verified by its manifest: first as it lies there, then as it was copied. DATA_DIR appears whole or not at
 * all, also when `signal` aborts.
 * @param options.leaveOut Names that are verified, and not restored
 * @param options.say Told how far it is
 * @returns the moment up to which every acknowledged write is there
 * @throws ToolyardError BAD_USER_INPUT naming the unsuitable folder, PRECONDITION_FAILED naming what differs from the manifest
 */
export async function restore(options: {
  backup: string;
  dataDir: string;
  leaveOut: ReadonlySet<string>;
  /** Works on the restored folder before it takes DATA_DIR's place. */
  prepare?: (folder: string) => Promise<void>;
  signal: AbortSignal;
  say: (line: string) => void;
}): Promise<{ completeTo: string; names: string[] }> {
  const { leaveOut, signal, say, prepare } = options;
  const [from, to] = [await withoutLinks(resolve(options.backup)), await withoutLinks(resolve(options.dataDir))];
  const { databases, others, completeTo } = await readManifest(from);
  if (!relative(from, to).startsWith("..")) refuse(`${to} (DATA_DIR) lies in the backup: choose another folder.`);
  await placeFor(
    to,
    `${to} (DATA_DIR) is not empty: nothing is overwritten. Put it aside, or choose another DATA_DIR.`,
  );
  let draft: string | null = null;
  try {
    await mkdir(dirname(to), { recursive: true });
    draft = await mkdtemp(join(dirname(to), `.${basename(to)}-`));
    const names = [];
    for (const [name, listed] of Object.entries({ ...others, ...databases })) {
      signal.throwIfAborted();
      if (basename(name) !== name) throw preconditionFailed("backup", `${from} names ${name}, which is not in it.`);
      const { files, bytes, sha256 } = listed;
      const copy = join(draft, name);
      // A folder of servers' files; all else is one file.
      if (name === "homes") await copyTree(join(from, name), copy, new Set());
      else await copyFile(join(from, name), copy);
      if (!isDeepStrictEqual(await contentsOf(copy), { files, bytes, sha256 }))
        throw preconditionFailed("backup", `${name} in ${from} is not what was backed up: its digest differs.`);
      if ("rows" in listed && !isDeepStrictEqual(rowsOf(copy), listed.rows))
        throw preconditionFailed("backup", `${name} in ${from} has other numbers of rows than were backed up.`);
      say(`${name}: ${files === 1 ? "" : `${files} files, `}${bytes} bytes as in the manifest.`);
      if (leaveOut.has(name)) await rm(copy, { recursive: true });
      else {
        if (name !== "homes") await syncPrivately(copy);
        names.push(name);
      }
    }
    const unlisted = (await namesIn(from)).filter(
      (name) => !(name in databases || name in others || name === "manifest.json"),
    );
    if (unlisted.length > 0) say(`Not in the manifest, and left alone: ${unlisted.join(", ")}.`);
    await prepare?.(draft);
    signal.throwIfAborted();
    await removeEmpty(to);
    await rename(draft, to);
    return { completeTo, names };
  } catch (error) {
    if (draft !== null) await rm(draft, { recursive: true, force: true });
    throw unwritten(to, error);
  }
}
