import { realpathSync, statSync } from "node:fs";
import type { Stats } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { systemCodeOf } from "@toolyard/service-kit/errors.ts";

/** Nothing is there, or nothing that this process may look at. */
const UNSEEN = new Set(["ENOENT", "ENOTDIR", "EACCES", "ELOOP", "ENAMETOOLONG"]);

/** What is at a path, or null. */
export function statusOf(path: string): Stats | null {
  try {
    return statSync(path);
  } catch (error) {
    if (UNSEEN.has(systemCodeOf(error) ?? "")) return null;
    throw error;
  }
}

/** Whether `path` is `parent` or lies below it. Both absolute. */
export function isWithin(parent: string, path: string): boolean {
  const way = relative(parent, path);
  return way !== ".." && !way.startsWith("../");
}

/** The path without symbolic links, as mounts see it; itself where nothing is there. */
export function realPathOf(path: string): string {
  return statusOf(path) ? realpathSync(path) : path;
}

/** The path without symbolic links in its folder: where the thing of this name itself is, which may be a link. */
export function placeOf(path: string): string {
  const whole = resolve(path);
  return join(realPathOf(dirname(whole)), basename(whole));
}
