export type JsonObject = Record<string, unknown>;

export interface JsonBounds {
  /** Levels of objects and lists. */
  depth: number;
  /** Of its text, roughly. */
  characters: number;
}

/**
 * What keeps a value from being JSON that every store and program takes, or from being small; null when nothing does. Stops where it
 * knows: the work is bounded by `bounds`.
 */
export function problemOfJson(value: unknown, bounds: JsonBounds): string | null {
  let left = bounds.characters;

  const walk = (item: unknown, depth: number): string | null => {
    left -= 1;
    if (typeof item === "string") left -= item.length;
    if (left < 0) return sizeProblem(bounds);
    if (item === null || typeof item === "boolean") return null;
    if (typeof item === "number") return Number.isFinite(item) ? null : "must have finite numbers only";
    if (typeof item === "string")
      return item.isWellFormed() && !item.includes("\0") ? null : "must be well-formed Unicode without NUL";
    if (typeof item !== "object") return "must be JSON";
    if (depth === 0) return `is nested too deeply: at most ${bounds.depth} levels`;
    if (Array.isArray(item)) {
      for (const one of item) {
        const problem = walk(one, depth - 1);
        if (problem !== null) return problem;
      }
      return null;
    }
    for (const key in item) {
      if (!Object.hasOwn(item, key)) continue;
      const problem = walk(key, depth) ?? walk((item as Record<string, unknown>)[key], depth - 1); // one of its own keys
      if (problem !== null) return problem;
    }
    return null;
  };
  return walk(value, bounds.depth);
}

export const sizeProblem = ({ characters }: JsonBounds): string =>
  `is too large: at most ${characters} characters as JSON`;
