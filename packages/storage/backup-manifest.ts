import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { lstat, readFile, readdir, readlink } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, preconditionFailed } from "@toolyard/service-kit";
import LibsqlDatabase from "libsql";
import { z } from "zod";

/** The file in a backup that says what else is in it. */
export const MANIFEST = "manifest.json";

const contents = z.object({
  /** Files in it; of a file: 1. */
  files: z.int().nonnegative(),
  bytes: z.int().nonnegative(),
  /** Of a file's bytes; of a folder, of its files' paths and digests. */
  sha256: z.string(),
});
const manifest = z.object({
  format: z.literal(1),
  /** Every write that was acknowledged before this moment is in the backup (RFC 3339). */
  completeTo: z.iso.datetime(),
  /** By their names; each with the rows of its tables. */
  databases: z.record(z.string(), contents.extend({ rows: z.record(z.string(), z.int().nonnegative()) })),
  /** The files and folders beside them. */
  others: z.record(z.string(), contents),
});
export type Manifest = z.infer<typeof manifest>;
type Contents = z.infer<typeof contents>;

/** @throws ToolyardError PRECONDITION_FAILED when the folder is no backup that can be verified */
export async function readManifest(folder: string): Promise<Manifest> {
  try {
    return manifest.parse(JSON.parse(await readFile(join(folder, MANIFEST), "utf8")));
  } catch (error) {
    const why = error instanceof z.ZodError ? z.prettifyError(error) : messageOf(error);
    throw preconditionFailed("backup", `${folder} has no ${MANIFEST} of a backup: ${why}`, error);
  }
}

/** Reads all of a file or folder. Links are not followed. */
export async function contentsOf(path: string): Promise<Contents> {
  const all = createHash("sha256");
  const sum = { files: 0, bytes: 0 };
  const only = await lstat(path);
  if (only.isFile()) return { files: 1, bytes: only.size, sha256: await digestOf(path) };
  const add = async (folder: string, from: string): Promise<void> => {
    for (const entry of (await readdir(folder, { withFileTypes: true })).toSorted(byName)) {
      const [found, name] = [join(folder, entry.name), `${from}/${entry.name}`];
      if (entry.isDirectory()) await add(found, name);
      else {
        const digest = entry.isFile() ? await digestOf(found) : `link ${await readlink(found)}`;
        all.update(`${JSON.stringify([name, digest])}\n`);
        sum.files += 1;
        sum.bytes += (await lstat(found)).size;
      }
    }
  };
  await add(path, "");
  return { ...sum, sha256: all.digest("hex") };
}

function byName({ name: one }: { name: string }, { name: other }: { name: string }): number {
  return one < other ? -1 : 1;
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

/**
 * The rows of each table.
 * @throws ToolyardError PRECONDITION_FAILED when the file is damaged
 */
export function rowsOf(file: string): Record<string, number> {
  const database = new LibsqlDatabase(file, { readonly: true });
  try {
    const [check] = database.prepare("PRAGMA quick_check(1)").all() as { quick_check: string }[];
    if (check?.quick_check !== "ok")
      throw preconditionFailed("backup", `${file} is damaged: ${check?.quick_check ?? "it cannot be checked"}.`);
    const tables = database
      .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name")
      .all() as { name: string }[];
    return Object.fromEntries(
      tables.map(({ name }) => {
        const { rows } = database.prepare(`SELECT count(*) AS rows FROM "${name}"`).get() as { rows: number };
        return [name, rows];
      }),
    );
  } finally {
    database.close();
  }
}
