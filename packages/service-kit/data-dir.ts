import { chmod, mkdir, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { ConfigError } from "./config.ts";
import { messageOf } from "./errors.ts";
import type { Logger } from "./log.ts";

const GROUP_AND_OTHERS = 0o077;
const STICKY = 0o1000;

/**
 * Makes DATA_DIR, or takes what is there away from everybody else: a folder that a volume or an earlier version made may be open to all, and
 * secrets and databases lie in it.
 * @throws ConfigError when everybody shares it, as they do /tmp
 */
export async function prepareDataDir(dataDir: string, logger: Pick<Logger, "warn">): Promise<void> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const { mode } = await stat(dataDir);
  if (mode & STICKY) {
    throw new ConfigError(
      `DATA_DIR: ${dataDir} is a folder that everybody on this machine shares. Give Toolyard a folder of its own. Example: DATA_DIR=${join(dataDir, "toolyard")}`,
    );
  }
  const open = mode & GROUP_AND_OTHERS ? [{ path: dataDir, mode }] : [];
  for (const entry of await readdir(dataDir, { withFileTypes: true })) {
    // A link leads to what is not Toolyard's to change; a socket is closed by the folder.
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
