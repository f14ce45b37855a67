import { chmod, mkdir, readdir, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { ConfigError } from "./config.ts";
import { messageOf, systemCodeOf, preconditionFailed } from "../errors/errors.ts";
import type { Logger } from "./log.ts";

const GROUP_AND_OTHERS = 0o077;
const WRITABLE_BY_OTHERS = 0o022;
const STICKY = 0o1000;

/**
 * Makes DATA_DIR, or makes an existing one private: a folder made by a volume or an earlier version may be open to all users, and it holds
 * secrets and databases.
 * @throws ConfigError when it is shared with all users, like /tmp; ToolyardError PRECONDITION_FAILED when it cannot be written to
 */
export async function prepareDataDir(dataDir: string, logger: Pick<Logger, "warn">): Promise<void> {
  await makeFolder("DATA_DIR", dataDir);
  const { mode } = await stat(dataDir);
  if (mode & STICKY) {
    throw new ConfigError(
      `DATA_DIR: ${dataDir} is a folder that everybody on this machine shares. Give Toolyard a folder of its own. Example: DATA_DIR=${join(dataDir, "toolyard")}`,
    );
  }
  const open = mode & GROUP_AND_OTHERS ? [{ path: dataDir, mode }] : [];
  for (const entry of await readdir(dataDir, { withFileTypes: true })) {
    // A link may lead to files that are not Toolyard's; a socket is protected by its folder.
    if (!entry.isFile() && !entry.isDirectory()) continue;
    const path = join(dataDir, entry.name);
    const found = await stat(path).catch(() => null); // removed meanwhile
    if (found && found.mode & GROUP_AND_OTHERS) open.push({ path, mode: found.mode });
  }
  for (const entry of open) {
    try {
      await chmod(entry.path, entry.mode & 0o700);
    } catch (error) {
      logger.warn(
        { path: entry.path, reason: messageOf(error) },
        "others on this machine may reach what is in DATA_DIR, and it cannot be changed here: give it to Toolyard's user, mode 0700",
      );
    }
  }
}

/**
 * Makes CACHE_DIR: programs that replicas run lie in it, so nobody else may write there.
 * @throws as `prepareDataDir`
 */
export async function prepareCacheDir(cacheDir: string): Promise<void> {
  await makeFolder("CACHE_DIR", cacheDir);
  const { mode } = await stat(cacheDir);
  if (mode & WRITABLE_BY_OTHERS) {
    throw new ConfigError(
      `CACHE_DIR: others on this machine may write to ${cacheDir}. Give Toolyard a folder of its own. Example: CACHE_DIR=${join(cacheDir, "toolyard")}`,
    );
  }
}

/** Bytes of a test write: a full disk may still take files without content. */
const PROBE_BYTES = 4_096;

/** Node's own recursion never ends where a system's folder, such as /proc, says that it is not there. */
async function makeFolders(folder: string): Promise<void> {
  try {
    await mkdir(folder, { mode: 0o700 });
  } catch (error) {
    if (systemCodeOf(error) === "EEXIST") return;
    const parent = dirname(folder);
    const isThere = await stat(parent).catch(() => null);
    if (systemCodeOf(error) !== "ENOENT" || isThere !== null || parent === folder) throw error;
    await makeFolders(parent);
    await mkdir(folder, { mode: 0o700 });
  }
}

async function makeFolder(variable: string, folder: string): Promise<void> {
  try {
    await makeFolders(resolve(folder));
    const probe = join(folder, `.probe-${process.pid}`);
    try {
      await writeFile(probe, Buffer.alloc(PROBE_BYTES), { flag: "w", mode: 0o600 });
    } finally {
      await rm(probe, { force: true });
    }
  } catch (cause) {
    const why = whyUnusable(systemCodeOf(cause)) ?? messageOf(cause);
    throw preconditionFailed("data-directory", `${variable}: ${folder} cannot be used: ${why}.`, cause);
  }
}

function whyUnusable(code: string | null): string | null {
  switch (code) {
    case "EEXIST":
    case "ENOTDIR":
      return "it is a file, or lies below one; name a folder";
    case "EACCES":
    case "EPERM":
      return `the user that Toolyard runs as (${process.getuid?.() ?? "this one"}) may not write there; give it to that user, or choose another folder`;
    case "EROFS":
      return "its file system is read-only; choose another folder";
    case "ENOSPC":
    case "EDQUOT":
      return "there is no space left on its disk; make room, or choose another folder";
    default:
      return null;
  }
}
