import { fileURLToPath, pathToFileURL } from "node:url";

/** `unix:` and the path, percent-encoded: how a socket of the file system is named where else an origin stands. */
export function unixUrl(path: string): string {
  return `unix:${pathToFileURL(path).pathname}`;
}

/** The path of a `unix:` URL; null for any other. */
export function socketPathOf(url: string): string | null {
  return url.startsWith("unix:") ? fileURLToPath(`file:${url.slice("unix:".length)}`) : null;
}
