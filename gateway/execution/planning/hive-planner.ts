import {
  QueryPlanner as NativePlanner,
  type EntityBatchAlias,
  type FetchNode as NativeFetch,
  type FetchNodePathSegment,
  type FetchRewrite,
  type FlattenNodePathSegment,
  type PlanNode as NativeNode,
  type RequiresSelection as NativeRequires,
} from "@graphql-hive/router-query-planner";
import type {
  EntityBatch,
  FetchNode,
  PathSegment,
  PlanNode,
  RequiresSelection,
  Rewrite,
  RewriteSegment,
} from "./query-plan.ts";
import type { PlannerCore } from "./query-planner.ts";

/**
 * The planner of Hive Router, native code. Some valid operations make it abort the process that it runs in (a Rust panic that cannot
 * unwind, as of 0.0.38): no process that does anything else may call it.
 */
export function createHivePlanner(options: { supergraphSdl: string }): PlannerCore {
  const planner = new NativePlanner(options.supergraphSdl);
  return {
    plan({ operation, operationName, overrideLabels, overridePercentage }) {
      if (hasOwnDirectives(operation))
        throw new Error("The native planner does not pass on the graph's own directives.");
      const { node } = planner.plan(operation, operationName, new Set(overrideLabels), overridePercentage);
      return { node: node ? planNode(node) : null };
    },
  };
}

/** Whether fields have directives that are no conditions: an `@` outside of strings tells, as graphql-js prints operations. */
function hasOwnDirectives(operation: string): boolean {
  if (!operation.includes("@")) return false;
  const withoutStrings = operation.replaceAll(/"""[^]*?(?<!\\)"""|"(?:[^"\\]|\\.)*"/g, "");
  return /@(?!(?:skip|include)\b)/.test(withoutStrings);
}

function planNode(node: NativeNode): PlanNode {
  switch (node.kind) {
    case "Fetch":
      return fetchNode(node);
    case "BatchFetch":
      return {
        kind: "BatchFetch",
        subgraph: node.serviceName,
        operation: node.operation,
        variables: node.variableUsages ?? [],
        batches: node.entityBatch.aliases.map(entityBatch),
      };
    case "Sequence":
      return { kind: "Sequence", nodes: node.nodes.map(planNode) };
    case "Parallel":
      return { kind: "Parallel", nodes: node.nodes.map(planNode) };
    case "Flatten":
      if (node.node.kind !== "Fetch") throw new Error(`The planner flattened a ${node.node.kind}, which is not known.`);
      return { kind: "Flatten", path: node.path.map(pathSegment), node: fetchNode(node.node) };
    case "Condition":
      return {
        kind: "Condition",
        variable: node.condition,
        ifTrue: node.ifClause ? planNode(node.ifClause) : null,
        ifFalse: node.elseClause ? planNode(node.elseClause) : null,
      };
    case "Subscription":
      return { kind: "Subscription", primary: fetchNode(node.primary) };
    case "Defer":
      throw new Error("Deferred fragments are not supported.");
  }
}

function fetchNode(node: NativeFetch): FetchNode {
  return {
    kind: "Fetch",
    subgraph: node.serviceName,
    operation: node.operation,
    operationKind: node.operationKind ?? "query",
    variables: node.variableUsages ?? [],
    requires: node.requires ? node.requires.map(requiresSelection) : null,
    inputRewrites: (node.inputRewrites ?? []).map(rewrite),
    outputRewrites: (node.outputRewrites ?? []).map(rewrite),
  };
}

function entityBatch(batch: EntityBatchAlias): EntityBatch {
  return {
    alias: batch.alias,
    representationsVariable: batch.representationsVariableName,
    paths: batch.paths.map((path) => path.map(pathSegment)),
    requires: batch.requires.map(requiresSelection),
    inputRewrites: (batch.inputRewrites ?? []).map(rewrite),
    outputRewrites: (batch.outputRewrites ?? []).map(rewrite),
  };
}

function pathSegment(segment: FlattenNodePathSegment): PathSegment {
  if (segment === "@") return { kind: "List" };
  return "Field" in segment ? { kind: "Field", key: segment.Field } : { kind: "Types", names: segment.TypeCondition };
}

function requiresSelection(selection: NativeRequires): RequiresSelection {
  switch (selection.kind) {
    case "Field":
      return {
        kind: "Field",
        name: selection.name,
        alias: selection.alias ?? null,
        selections: selection.selections?.length ? selection.selections.map(requiresSelection) : null,
      };
    case "InlineFragment":
      return {
        kind: "InlineFragment",
        typeCondition: selection.typeCondition,
        skipIf: selection.skipIf ?? null,
        includeIf: selection.includeIf ?? null,
        selections: selection.selections.map(requiresSelection),
      };
    case "FragmentSpread":
      throw new Error("The planner named a fragment in a representation, which is not known.");
  }
}

function rewrite(native: FetchRewrite): Rewrite {
  if ("KeyRenamer" in native) {
    const { path, renameKeyTo } = native.KeyRenamer;
    return { kind: "RenameKey", path: path.map(rewriteSegment), to: renameKeyTo };
  }
  const { path, setValueTo } = "ValueSetter" in native ? native.ValueSetter : native;
  return { kind: "SetValue", path: path.map(rewriteSegment), value: setValueTo };
}

function rewriteSegment(segment: FetchNodePathSegment): RewriteSegment {
  return "Key" in segment ? { kind: "Key", key: segment.Key } : { kind: "Types", names: segment.TypenameEquals };
}
