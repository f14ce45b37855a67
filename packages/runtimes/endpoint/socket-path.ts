import { closeSync, existsSync, openSync } from "node:fs";
import { basename, dirname, relative } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

/** `unix:` and the path, percent-encoded: how a socket of the file system is named where else an origin stands. */
export function unixUrl(path: string): string {
  return `unix:${pathToFileURL(path).pathname}`;
}

/** The path of a `unix:` URL; null for any other. */
export function socketPathOf(url: string): string | null {
  return url.startsWith("unix:") ? fileURLToPath(`file:${url.slice("unix:".length)}`) : null;
}

/** What `sun_path` holds, less its last byte: Linux has 108, the BSDs and macOS 104. */
const MAX_PATH_BYTES = process.platform === "linux" ? 107 : 103;

/**
 * Calls `use` with a path to the socket that is short enough to bind or connect to, and good for the duration of the call only:
 * the folder's own place in DATA_DIR may be as long as it likes.
 */
export function withShortPath<Result>(path: string, use: (short: string) => Result): Result {
  if (Buffer.byteLength(path) <= MAX_PATH_BYTES) return use(path);
  if (!existsSync("/proc/self/fd")) return use(relative(process.cwd(), path));
  const folder = openSync(dirname(path), "r");
  try {
    return use(`/proc/self/fd/${folder}/${basename(path)}`);
  } finally {
    closeSync(folder);
  }
}
