import LibsqlDatabase from "libsql";
import { mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { systemCodeOf, ToolyardError } from "@toolyard/service-kit";

/** A folder that is this process's alone. */
export interface FolderLock {
  release(): void;
}

const LOOK_AGAIN_MS = 50;

/**
 * Takes a folder for this process, until `release` or the process's end, however it ends: an exclusive lock of SQLite on a file in it,
 * which the system takes back by itself, so that nothing stale is ever left.
 * @param waitMs How long whoever has it may take to let go, such as at a quick restart.
 * @throws ToolyardError CONFLICT when another process has it.
 */
export async function lockFolder(folder: string, options: { waitMs?: number } = {}): Promise<FolderLock> {
  const { waitMs = 3_000 } = options;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const file = join(folder, "in-use.lock");
  await (await open(file, "a", 0o600)).close();
  const deadline = Date.now() + waitMs;
  for (;;) {
    const database = new LibsqlDatabase(file);
    try {
      // Nothing is ever written: no journal beside the file.
      database.exec("PRAGMA journal_mode = MEMORY");
      database.exec("BEGIN EXCLUSIVE");
      return { release: () => database.close() };
    } catch (error) {
      database.close();
      if (!systemCodeOf(error)?.startsWith("SQLITE_BUSY")) throw error;
      if (Date.now() >= deadline) {
        const message = `${folder} is in use by another Toolyard. Stop that one, or choose another folder (DATA_DIR).`;
        throw new ToolyardError("CONFLICT", message, { cause: error });
      }
    }
    await delay(LOOK_AGAIN_MS);
  }
}
