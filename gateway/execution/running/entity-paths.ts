import type { PathSegment } from "../planning/query-plan.ts";
import type { Supergraph } from "../schema/supergraph.ts";

type Json = Record<string, unknown>;

/** Finds the entities at one path of the plan in the merged data. */
export interface EntityPath {
  /** Adds the objects at the path to `found`, in the response's order. */
  collect(data: Json, found: Json[]): void;
  /** Gives the place of each object at the path: the slow way, for error messages. */
  locate(data: Json, visit: (entity: Json, path: (string | number)[]) => void): void;
}

export function createEntityPath(segments: readonly PathSegment[], supergraph: Supergraph): EntityPath {
  // The root is of the operation's type by itself.
  const steps = segments[0]?.kind === "Types" ? segments.slice(1) : segments;
  const isOneOf = (typeName: unknown, names: readonly string[]) =>
    typeof typeName !== "string" || names.some((name) => supergraph.isSubType(typeName, name));

  function collect(value: unknown, depth: number, found: Json[]): void {
    let current = value;
    for (let i = depth; ; i++) {
      if (typeof current !== "object" || current === null) return;
      const step = steps[i];
      if (Array.isArray(current)) {
        const next = step?.kind === "List" ? i + 1 : i;
        for (const item of current) collect(item, next, found);
        return;
      }
      // Not an array: an object, read by key only.
      const object = current as Json;
      if (step === undefined) {
        found.push(object);
        return;
      }
      if (step.kind === "Field") current = object[step.key];
      else if (step.kind === "Types" && !isOneOf(object["__typename"], step.names)) return;
    }
  }

  function locate(
    value: unknown,
    depth: number,
    path: (string | number)[],
    visit: (entity: Json, path: (string | number)[]) => void,
  ): void {
    if (typeof value !== "object" || value === null) return;
    const step = steps[depth];
    if (Array.isArray(value)) {
      const next = step?.kind === "List" ? depth + 1 : depth;
      value.forEach((item, index) => locate(item, next, [...path, index], visit));
      return;
    }
    // Not an array: an object, read by key only.
    const object = value as Json;
    if (step === undefined) visit(object, path);
    else if (step.kind === "Field") locate(object[step.key], depth + 1, [...path, step.key], visit);
    else if (step.kind === "List" || isOneOf(object["__typename"], step.names)) locate(object, depth + 1, path, visit);
  }

  return {
    collect: (data, found) => collect(data, 0, found),
    locate: (data, visit) => locate(data, 0, [], visit),
  };
}
