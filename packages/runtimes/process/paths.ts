import { realpathSync, statSync } from "node:fs";
import { relative } from "node:path";

/** Whether `path` is `parent` or lies below it. Both absolute. */
export function isWithin(parent: string, path: string): boolean {
  const way = relative(parent, path);
  return way !== ".." && !way.startsWith("../");
}

/** The path without symbolic links, as mounts see it; itself where nothing is there. */
export function realPathOf(path: string): string {
  return statSync(path, { throwIfNoEntry: false }) ? realpathSync(path) : path;
}
