import type { Rewrite, RewriteSegment } from "../planning/query-plan.ts";
import type { Supergraph } from "../schema/supergraph.ts";

type Json = Record<string, unknown>;

/** Changes an object in place as the plan's rewrites say; null when there is nothing to change. */
export function createRewriter(rewrites: readonly Rewrite[], supergraph: Supergraph): ((object: Json) => void) | null {
  if (rewrites.length === 0) return null;
  return (object) => {
    for (const rewrite of rewrites) apply(object, rewrite, 0, supergraph);
  };
}

function apply(value: unknown, rewrite: Rewrite, depth: number, supergraph: Supergraph): void {
  if (typeof value !== "object" || value === null) return;
  if (Array.isArray(value)) {
    for (const item of value) apply(item, rewrite, depth, supergraph);
    return;
  }
  // Not an array: an object, changed by key only.
  const object = value as Json;
  const segment: RewriteSegment | undefined = rewrite.path[depth];
  if (!segment) return;
  if (segment.kind === "Types") {
    const typeName = object["__typename"];
    const matches = typeof typeName !== "string" || segment.names.some((name) => supergraph.isSubType(typeName, name));
    if (matches) apply(object, rewrite, depth + 1, supergraph);
    return;
  }
  if (depth < rewrite.path.length - 1) {
    apply(object[segment.key], rewrite, depth + 1, supergraph);
    return;
  }
  if (rewrite.kind === "SetValue") {
    object[segment.key] = rewrite.value;
    return;
  }
  if (!(segment.key in object)) return;
  object[rewrite.to] = object[segment.key];
  delete object[segment.key];
}
