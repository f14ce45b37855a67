import { realpathSync, statSync } from "node:fs";
import type { Stats } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { systemCodeOf } from "@toolyard/service-kit/errors/errors.ts";

/** The status of a path; null when it does not exist or cannot be read, as in others' folders or mounts whose server is gone. */
export function statusOf(path: string): Stats | null {
  return unlessUnseen(() => statSync(path));
}

function unlessUnseen<Value>(look: () => Value): Value | null {
  try {
    return look();
  } catch (error) {
    // The system's, as opposed to a mistake in the call.
    if (systemCodeOf(error) !== null && error instanceof Error && "errno" in error) return null;
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
  return (statusOf(path) && unlessUnseen(() => realpathSync(path))) ?? path;
}

/** The path without symbolic links in its folder: where the thing of this name itself is, which may be a link. */
export function placeOf(path: string): string {
  const whole = resolve(path);
  return join(realPathOf(dirname(whole)), basename(whole));
}
