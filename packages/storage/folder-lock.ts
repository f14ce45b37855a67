import { mkdirSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { mkdir, open } from "node:fs/promises";
import { createServer } from "node:net";
import { join, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { systemCodeOf, ToolyardError } from "@toolyard/service-kit";
import { askPresence, presenceSocket, withShortPath } from "@toolyard/service-kit/process/presence.mjs";

/** A folder that only this process uses. */
export interface FolderLock {
  /**
   * Tells other processes that find the folder taken where this process answers, until `signal` aborts; those that come after that wait for its
   * end. Does nothing where the file system of the folder supports no sockets.
   */
  announce(url: string, signal: AbortSignal): void;
  release(): void;
}

const LOOK_AGAIN_MS = 50;
/** Links to the folders in use by processes that run from this copy of the code, beneath which `npm run up` does not install. */
const RUNNING_HERE = join(import.meta.dirname, "../../node_modules/.cache/toolyard/running");

/** SQLite's result code. */
const BUSY = 5;

/**
 * Locks a folder for this process until `release` or the process's end: an exclusive SQLite lock on a file in it, which the system releases
 * however the process ends, so that no lock is ever stale. By Node's own SQLite, since the proxy has no other.
 * @param isCommand Whether this process works on the folder for a moment, and serves nothing.
 * @param waitMs How long the holder may take to let go, such as at a quick restart; a holder that says it is running is not waited for.
 * @throws ToolyardError CONFLICT when another process has it.
 */
export async function lockFolder(
  folder: string,
  options: { waitMs?: number; isCommand?: boolean } = {},
): Promise<FolderLock> {
  const { waitMs = 3_000, isCommand = false } = options;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const file = join(folder, "in-use.lock");
  await (await open(file, "a", 0o600)).close();
  const deadline = performance.now() + waitMs;
  for (;;) {
    const database = new DatabaseSync(file);
    try {
      // Nothing is ever written: no journal beside the file.
      database.exec("PRAGMA journal_mode = MEMORY");
      database.exec("BEGIN EXCLUSIVE");
      return lockOf(folder, () => database.close());
    } catch (error) {
      database.close();
      if (!isBusy(error)) throw error;
      const running = await askPresence(folder);
      if (running !== null || performance.now() >= deadline) throw taken(folder, { running, isCommand }, error);
    }
    await delay(LOOK_AGAIN_MS);
  }
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && "errcode" in error && error.errcode === BUSY;
}

function taken(
  folder: string,
  { running, isCommand }: { running: Awaited<ReturnType<typeof askPresence>>; isCommand: boolean },
  cause: unknown,
): ToolyardError {
  const message =
    running === null
      ? `${folder} is in use by another Toolyard. Stop that one, or choose another folder (DATA_DIR).`
      : `Toolyard runs already with this DATA_DIR (${folder}), at ${running.url} (process ${running.pid}). ` +
        (isCommand ? "Stop it first." : "Stop that one, or give this one another DATA_DIR, PORT and PROXY_PORT.");
  return new ToolyardError("CONFLICT", message, { cause });
}

function lockOf(folder: string, unlock: () => void): FolderLock {
  let withdraw = (): void => undefined;
  return {
    announce(url, signal) {
      withdraw = announce(folder, url);
      signal.addEventListener("abort", withdraw, { once: true });
      if (signal.aborted) withdraw();
    },
    release() {
      withdraw();
      unlock();
    },
  };
}

function announce(folder: string, url: string): () => void {
  const path = presenceSocket(folder);
  const link = join(RUNNING_HERE, String(process.pid));
  const server = createServer((connection) => {
    connection.on("error", () => undefined); // the asking process went away
    connection.end(JSON.stringify({ url, pid: process.pid }));
  });
  server.unref();
  server.on("error", () => undefined); // as in `attempt`
  // Closing a server unlinks the path that it was bound to, which may be good for a moment only.
  const draft = `${path}.new`;
  rmSync(draft, { force: true });
  server.once("listening", () => attempt(() => renameSync(draft, path)));
  withShortPath(draft, (short) => server.listen(short));
  attempt(() => {
    mkdirSync(RUNNING_HERE, { recursive: true });
    rmSync(link, { force: true });
    symlinkSync(resolve(folder), link);
  });
  return () => {
    server.close();
    rmSync(path, { force: true });
    rmSync(link, { force: true });
  };
}

/** Where the folder supports no sockets, or this copy of the code is read-only, only a message to the next process is lost. */
function attempt(work: () => void): void {
  try {
    work();
  } catch (error) {
    if (systemCodeOf(error) === null) throw error;
  }
}
