import type { FetchNode, PathSegment, PlanNode } from "../planning/query-plan.ts";

/**
 * Puts the fetches that complete a mutation's result before the next mutation. Section 6.2.2 of the GraphQL specification runs the fields
 * of a mutation one after the other, each with all that is below it; a planner may fetch the rest of the first beside the second, or the
 * rest of both together.
 *
 * @param rootKeysOf the response keys of a mutation's fetch
 */
export function inMutationOrder(node: PlanNode, rootKeysOf: (operation: string) => readonly string[]): PlanNode {
  if (node.kind !== "Sequence") return node;
  const layers = node.nodes.map((layer) => (layer.kind === "Parallel" ? layer.nodes : [layer]));
  const mutations = layers.flat().filter(isMutation);
  if (mutations.length < 2) return node;

  const turnOfKey = new Map<string, number>();
  mutations.forEach(({ operation }, turn) => {
    for (const key of rootKeysOf(operation)) turnOfKey.set(key, turn);
  });
  const last = mutations.length - 1;
  const turnOf = (path: readonly PathSegment[]): number => {
    const first = path.find((segment) => segment.kind === "Field");
    return (first && turnOfKey.get(first.key)) ?? last;
  };
  return {
    kind: "Sequence",
    nodes: mutations.flatMap((mutation, turn) => {
      const rest = layers.flatMap((layer): PlanNode[] => {
        const [first, ...others] = layer.flatMap((inner) => partOf(inner, (path) => turnOf(path) === turn) ?? []);
        if (!first) return [];
        return [others.length === 0 ? first : { kind: "Parallel", nodes: [first, ...others] }];
      });
      return [mutation, ...rest];
    }),
  };
}

function isMutation(node: PlanNode): node is FetchNode {
  return node.kind === "Fetch" && node.operationKind === "mutation";
}

/** A node's fetches for wanted paths; null when there are none. */
function partOf(node: PlanNode, isWanted: (path: readonly PathSegment[]) => boolean): PlanNode | null {
  if (node.kind === "BatchFetch") {
    const batches = node.batches.map((batch) => ({ ...batch, paths: batch.paths.filter(isWanted) }));
    return batches.some(({ paths }) => paths.length > 0) ? { ...node, batches } : null;
  }
  if (isMutation(node)) return null;
  return isWanted(node.kind === "Flatten" ? node.path : []) ? node : null;
}
