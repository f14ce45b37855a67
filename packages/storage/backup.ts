import { copyFile, mkdir, mkdtemp, readdir, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { messageOf } from "@toolyard/service-kit";
import LibsqlDatabase from "libsql";
import { namesIn, placeFor, refuse, removeEmpty, syncPrivately, unwritten, withoutLinks } from "./backup-folders.ts";
import { contentsOf, MANIFEST, rowsOf, type Manifest } from "./backup-manifest.ts";
import { copyTree } from "./copy-tree.ts";

/** The files kept beside the databases: the key, and while it is rotated the earlier one, the first password, this installation's name. */
const BESIDE = ["secret-key", "secret-key.previous", "admin-password", "host-id"];
/** Replicas' home folders, in which servers may keep data; of their caches only those that have this name are known. */
const HOMES = "homes";
const LEFT_OUT_OF_HOMES = new Set([".cache"]);
/**
 * Databases that refer to others come first: each is copied at a moment of its own, so that rows named by an earlier copy are in the later ones.
 * Rows made in between are named by none yet.
 */
const ORDER = ["deployments", "tasks", "knowledge", "tools", "identity"].map((name) => `${name}.sqlite`);

/**
 * Copies everything in DATA_DIR that cannot be made anew, also while Toolyard runs, to a folder from which Toolyard starts as from DATA_DIR itself.
 * Replicas, logs and caches are left out. The folder appears whole or not at all, also when `signal` aborts.
 * A manifest in it has the digests of all that is there and the rows of each table, which `restore` compares.
 * @param say Told how far it is
 * @param fill Makes the databases' files in a folder in place of copies of DATA_DIR's, where servers keep what they have
 * @returns its contents, the moment up to which every acknowledged write is there, and a sentence for each home that could not be copied: replicas may write anything there
 * @throws ToolyardError BAD_USER_INPUT naming the unsuitable folder
 */
export async function backUp(
  dataDir: string,
  target: string,
  signal: AbortSignal,
  say: (line: string) => void = () => undefined,
  fill?: (folder: string) => Promise<string[]>,
): Promise<{ names: string[]; leftOut: string[]; completeTo: string }> {
  const [from, to] = [await withoutLinks(resolve(dataDir)), await withoutLinks(resolve(target))];
  const found = await namesIn(from);
  let databases = found.filter((name) => name.endsWith(".sqlite"));
  if (databases.length === 0 && !fill) refuse(`There are no databases of Toolyard in ${from} (DATA_DIR).`);
  if (!relative(from, to).startsWith(".."))
    refuse(`${to} lies in DATA_DIR, and would be lost with it: choose another folder.`);
  await placeFor(to, `${to} is not empty: choose a folder that is not there yet.`);
  let draft: string | null = null;
  try {
    await mkdir(dirname(to), { recursive: true });
    draft = await mkdtemp(join(dirname(to), `.${basename(to)}-`));
    const manifest: Manifest = { format: 1, completeTo: new Date().toISOString(), databases: {}, others: {} };
    if (fill) databases = await fill(draft);
    else
      for (const name of databases.toSorted((one, other) => placeOf(one) - placeOf(other))) {
        copyDatabase(join(from, name), join(draft, name));
        await turn(); // Signals are handled between two databases.
        signal.throwIfAborted();
      }
    const beside = BESIDE.filter((name) => found.includes(name));
    for (const name of beside) await copyFile(join(from, name), join(draft, name));
    for (const name of [...databases, ...beside]) await syncPrivately(join(draft, name));
    const leftOut = found.includes(HOMES) ? await copyHomes(join(from, HOMES), join(draft, HOMES), signal) : [];
    for (const name of databases) {
      const copy = join(draft, name);
      manifest.databases[name] = { ...(await contentsOf(copy)), rows: rowsOf(copy) };
      say(`${name}: ${Object.values(manifest.databases[name].rows).reduce((sum, rows) => sum + rows, 0)} rows.`);
      signal.throwIfAborted();
    }
    const others = [...beside, ...(found.includes(HOMES) ? [HOMES] : [])];
    for (const name of others) manifest.others[name] = await contentsOf(join(draft, name));
    signal.throwIfAborted();
    await writeFile(join(draft, MANIFEST), `${JSON.stringify(manifest, null, 2)}\n`);
    await syncPrivately(join(draft, MANIFEST));
    await removeEmpty(to);
    await rename(draft, to);
    return { names: [...databases, ...others], leftOut, completeTo: manifest.completeTo };
  } catch (error) {
    if (draft !== null) await rm(draft, { recursive: true, force: true });
    throw unwritten(to, error);
  }
}

function placeOf(name: string): number {
  return ORDER.indexOf(name);
}

/** A whole file without a journal, as of one moment, even while others write (https://sqlite.org/lang_vacuum.html#vacuuminto). */
export function copyDatabase(from: string, to: string): void {
  const database = new LibsqlDatabase(from);
  try {
    database.prepare("VACUUM INTO ?").run(to);
  } finally {
    database.close();
  }
}

async function copyHomes(from: string, to: string, signal: AbortSignal): Promise<string[]> {
  await mkdir(to, { mode: 0o700 });
  const leftOut: string[] = [];
  for (const name of await readdir(from)) {
    signal.throwIfAborted();
    try {
      await copyTree(join(from, name), join(to, name), LEFT_OUT_OF_HOMES);
    } catch (error) {
      await rm(join(to, name), { recursive: true, force: true });
      leftOut.push(`${join(from, name)} is left out: ${messageOf(error)}.`);
    }
  }
  return leftOut;
}
