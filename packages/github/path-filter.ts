/** Tells which files of a tree some patterns mean, and which of its folders can hold such files. Paths are as in `docs/intro.md`. */
export interface PathFilter {
  matches(path: string): boolean;
  /** `folder` is "" for the root. */
  mayHold(folder: string): boolean;
}

const isFreely = (segment: string) => segment === "**";

/**
 * A filter of patterns in which `*` stands for any characters of one segment, `?` for one of them, and `**` as a whole segment for any number
 * of segments. A pattern that names a folder does not mean the files in it: `docs/**` does. Takes time in proportion to pattern times path.
 */
export function createPathFilter(patterns: readonly string[]): PathFilter {
  const all = patterns.map((pattern) => pattern.split("/"));
  return {
    matches: (path) => all.some((pattern) => fits(pattern, path.split("/"), isFreely, fitsSegment)),
    mayHold(folder) {
      if (folder === "") return all.length > 0;
      const segments = folder.split("/");
      return all.some((pattern) => {
        const freely = pattern.findIndex(isFreely);
        if (freely < 0 && segments.length >= pattern.length) return false;
        const known = freely < 0 ? segments.length : Math.min(freely, segments.length);
        return segments.slice(0, known).every((segment, index) => fitsSegment(pattern[index] ?? "", segment));
      });
    },
  };
}

function fitsSegment(pattern: string, segment: string): boolean {
  return fits(
    pattern.split(""),
    segment.split(""),
    (one) => one === "*",
    (one, other) => one === "?" || one === other,
  );
}

/** Whether a row fits a pattern with parts that stand for any number of things; by going back to the last of these only. */
function fits(
  pattern: readonly string[],
  row: readonly string[],
  isAny: (part: string) => boolean,
  fitsOne: (part: string, thing: string) => boolean,
): boolean {
  let [at, next, any, resumed] = [0, 0, -1, 0];
  while (at < row.length) {
    const part = pattern[next];
    if (part !== undefined && isAny(part)) {
      any = next++;
      resumed = at;
    } else if (part !== undefined && fitsOne(part, row[at] ?? "")) {
      next++;
      at++;
    } else if (any >= 0) {
      next = any + 1;
      at = ++resumed;
    } else return false;
  }
  return pattern.slice(next).every(isAny);
}
