import { copyFile, lstat, mkdir, mkdtemp, open, readdir, realpath, rename, rm, rmdir } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { messageOf, systemCodeOf, ToolyardError } from "@toolyard/service-kit";
import LibsqlDatabase from "libsql";
import { copyTree } from "./copy-tree.ts";

/** The files kept beside the databases: the key, the first password, this installation's name. */
const BESIDE = ["secret-key", "admin-password", "host-id"];
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
 * @returns its contents, and a sentence for each home that could not be copied: replicas may write anything there
 * @throws ToolyardError BAD_USER_INPUT naming the unsuitable folder
 */
export async function backUp(
  dataDir: string,
  target: string,
  signal: AbortSignal,
): Promise<{ names: string[]; leftOut: string[] }> {
  const [from, to] = [await withoutLinks(resolve(dataDir)), await withoutLinks(resolve(target))];
  const found = await namesIn(from);
  const databases = found.filter((name) => name.endsWith(".sqlite"));
  if (databases.length === 0) refuse(`There are no databases of Toolyard in ${from} (DATA_DIR).`);
  if (!relative(from, to).startsWith(".."))
    refuse(`${to} lies in DATA_DIR, and would be lost with it: choose another folder.`);
  if ((await namesIn(to)).length > 0) refuse(`${to} is not empty: choose a folder that is not there yet.`);
  let draft: string | null = null;
  try {
    await mkdir(dirname(to), { recursive: true });
    draft = await mkdtemp(join(dirname(to), `.${basename(to)}-`));
    databases.sort((one, other) => placeOf(one) - placeOf(other));
    for (const name of databases) {
      copyDatabase(join(from, name), join(draft, name));
      await turn(); // Signals are handled between two databases.
      signal.throwIfAborted();
    }
    const beside = BESIDE.filter((name) => found.includes(name));
    for (const name of beside) await copyFile(join(from, name), join(draft, name));
    for (const name of [...databases, ...beside]) await sync(join(draft, name));
    const leftOut = found.includes(HOMES) ? await copyHomes(join(from, HOMES), join(draft, HOMES), signal) : [];
    await rmdir(to).catch((error: unknown) => {
      if (systemCodeOf(error) !== "ENOENT") throw error;
    });
    await rename(draft, to);
    return { names: [...databases, ...beside, ...(found.includes(HOMES) ? [HOMES] : [])], leftOut };
  } catch (error) {
    if (draft !== null) await rm(draft, { recursive: true, force: true });
    throw unwritten(to, error);
  }
}

/** The path with links followed in the part that exists, as the system will do when it is written to. */
async function withoutLinks(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (systemCodeOf(error) !== "ENOENT") return path;
    if (await lstat(path).catch(() => null)) refuse(`${path} is a link to a file that does not exist.`);
    return join(await withoutLinks(dirname(path)), basename(path));
  }
}

function unwritten(to: string, error: unknown): unknown {
  const code = systemCodeOf(error) ?? "";
  if (/^(ENOSPC|EDQUOT|SQLITE_FULL)/.test(code))
    return new ToolyardError("BAD_USER_INPUT", `There is no space left on the disk of ${to}.`, { cause: error });
  if (code === "EBUSY")
    return new ToolyardError("BAD_USER_INPUT", `${to} is a mount point: choose a folder in it.`, { cause: error });
  if (["ENOENT", "EACCES", "EPERM", "EROFS"].includes(code))
    return new ToolyardError("BAD_USER_INPUT", `${to} cannot be written: ${messageOf(error)}.`, { cause: error });
  return error;
}

function refuse(message: string): never {
  throw new ToolyardError("BAD_USER_INPUT", message);
}

function placeOf(name: string): number {
  return ORDER.indexOf(name);
}

/** A whole file without a journal, as of one moment, even while others write (https://sqlite.org/lang_vacuum.html#vacuuminto). */
function copyDatabase(from: string, to: string): void {
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

async function sync(path: string): Promise<void> {
  const file = await open(path, "r+");
  try {
    await file.chmod(0o600);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return [];
    if (systemCodeOf(error) === "ENOTDIR") refuse(`${folder} is no folder.`);
    throw error;
  }
}
