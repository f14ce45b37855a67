import { parse } from "graphql";
import { childShape, shapeOfOperation, type DataShape } from "./data-shape.ts";
import type {
  BatchFetchNode,
  PathSegment,
  PlanNode,
  QueryPlan,
  RequiresSelection,
  Rewrite,
} from "../planning/query-plan.ts";

/** The fetches of a plan, each with those that it waits for. */
export interface DependencyOrder {
  nodes: readonly PlanNode[];
  /** By node: the nodes that can begin no earlier than when it is done. */
  dependents: readonly (readonly number[])[];
  /** By node: how many nodes it waits for. */
  waitsFor: readonly number[];
}

/**
 * The real dependencies of each fetch. A planner puts fetches into layers; here a fetch waits for those before it that bring data it
 * reads (the objects on its path, their types, its keys and its requirements), and not for the others of their layer.
 */
export function dependencyOrderOf(plan: NonNullable<QueryPlan["node"]>): DependencyOrder {
  const nodes: PlanNode[] = [];
  const before: number[][] = [];
  const visit = (node: PlanNode, earlier: readonly number[]): number[] => {
    if (node.kind === "Parallel") return node.nodes.flatMap((inner) => visit(inner, earlier));
    if (node.kind === "Sequence") {
      const all: number[] = [];
      for (const inner of node.nodes) all.push(...visit(inner, [...earlier, ...all]));
      return all;
    }
    before.push([...earlier]);
    return [nodes.push(node) - 1];
  };
  visit(plan, []);
  const uses = nodes.map((node) => {
    const use: Use = { reads: new Set(), writes: new Set(), renamed: new Set() };
    addUse(node, use);
    return use;
  });
  const dependents: number[][] = nodes.map(() => []);
  const waitsFor = nodes.map((_, index) => {
    const needed = (before[index] ?? []).filter((other) => overlaps(uses[index], uses[other]));
    for (const other of needed) dependents[other]?.push(index);
    return needed.length;
  });
  return { nodes, dependents, waitsFor };
}

/** Places in the data: keys joined by dots, which no GraphQL name has. */
interface Use {
  reads: Set<string>;
  writes: Set<string>;
  /** Keys that a rewrite may introduce, wherever. */
  renamed: Set<string>;
}

function overlaps(reader: Use | undefined, writer: Use | undefined): boolean {
  if (!reader || !writer) return false;
  for (const place of reader.reads) {
    if (writer.writes.has(place)) return true;
    if (writer.renamed.size > 0 && place.split(".").some((key) => writer.renamed.has(key))) return true;
  }
  return false;
}

function addUse(node: PlanNode, use: Use): void {
  switch (node.kind) {
    case "Fetch":
      addRenamed(node.outputRewrites, use);
      addWrites(shapeOf(node.operation), "", use);
      return;
    case "Flatten": {
      const { requires, outputRewrites } = node.node;
      const root = shapeOf(node.node.operation);
      // Without representations it is of root fields.
      const shape = requires === null ? root : childShape(root, "_entities");
      addEntities([node.path], requires ?? [], outputRewrites, shape, use);
      return;
    }
    case "BatchFetch":
      addBatches(node, use);
      return;
    case "Subscription":
      addUse(node.primary, use);
      return;
    case "Condition":
      if (node.ifTrue) addUse(node.ifTrue, use);
      if (node.ifFalse) addUse(node.ifFalse, use);
      return;
    case "Sequence":
    case "Parallel":
      for (const inner of node.nodes) addUse(inner, use);
  }
}

const shapeOf = (operation: string) => shapeOfOperation(parse(operation, { noLocation: true }));

function addBatches({ operation, batches }: BatchFetchNode, use: Use): void {
  const shape = shapeOf(operation);
  for (const { alias, paths, requires, outputRewrites } of batches)
    addEntities(paths, requires, outputRewrites, childShape(shape, alias), use);
}

function addEntities(
  paths: readonly (readonly PathSegment[])[],
  requires: readonly RequiresSelection[],
  outputRewrites: readonly Rewrite[],
  shape: DataShape,
  use: Use,
): void {
  addRenamed(outputRewrites, use);
  for (const path of paths) {
    let place = "";
    for (const segment of path) {
      if (segment.kind === "Field") {
        place = `${place}.${segment.key}`;
        use.reads.add(place);
      } else if (segment.kind === "Types") use.reads.add(`${place}.__typename`);
    }
    use.reads.add(`${place}.__typename`);
    addReads(requires, place, use);
    addWrites(shape, place, use);
  }
}

function addReads(requires: readonly RequiresSelection[], place: string, use: Use): void {
  for (const selection of requires) {
    if (selection.kind === "InlineFragment") {
      if (selection.typeCondition !== null) use.reads.add(`${place}.__typename`);
      addReads(selection.selections, place, use);
      continue;
    }
    const inner = `${place}.${selection.name}`;
    use.reads.add(inner);
    if (selection.selections) addReads(selection.selections, inner, use);
  }
}

function addWrites(shape: DataShape, place: string, use: Use): void {
  shape.keys.forEach((key, index) => {
    const inner = `${place}.${key}`;
    use.writes.add(inner);
    const child = shape.children[index];
    if (child) addWrites(child, inner, use);
  });
}

function addRenamed(outputRewrites: readonly Rewrite[], use: Use): void {
  for (const rewrite of outputRewrites) if (rewrite.kind === "RenameKey") use.renamed.add(rewrite.to);
}
