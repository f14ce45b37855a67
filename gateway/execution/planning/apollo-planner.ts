import { operationFromDocument, Supergraph } from "@apollo/federation-internals";
import {
  QueryPlanner as ApolloPlanner,
  type FetchNode as ApolloFetch,
  type PlanNode as ApolloNode,
  type QueryPlan as ApolloPlan,
  type QueryPlanSelectionNode,
} from "@apollo/query-planner";
import { understoodFeatures } from "@toolyard/schema/linked-features.ts";
import { parse } from "graphql";
import { holdsUnsafeInteger } from "../../formats/exact-json.ts";
import type { FetchNode, PathSegment, PlanNode, RequiresSelection, Rewrite, RewriteSegment } from "./query-plan.ts";
import type { PlannerCore } from "./query-planner.ts";

/** At most so many plans are compared for one operation: the best of those found is taken. */
const MAX_EVALUATED_PLANS = 1_000;

/** Apollo's planner: slower by an order of magnitude, but it never ends the process. */
export function createApolloPlanner(options: { supergraphSdl: string }): PlannerCore {
  const supergraph = Supergraph.build(options.supergraphSdl, {
    // Planning needs none of the security features: the executor enforces them.
    supportedFeatures: new Set(understoodFeatures),
    validateSupergraph: false,
  });
  const planner = new ApolloPlanner(supergraph, { debug: { maxEvaluatedPlans: MAX_EVALUATED_PLANS } });
  const apiSchema = supergraph.apiSchema();
  const labels = new Set(
    [...options.supergraphSdl.matchAll(/\boverrideLabel:\s*"([^"]+)"/g)].flatMap(([, label]) => label ?? []),
  );
  return {
    plan({ operation, operationName, overrideLabels, overridePercentage }) {
      if (holdsUnsafeInteger(operation))
        throw new Error("Apollo's planner does not keep the digits of large integers.");
      const document = parse(operation, { noLocation: true });
      const parsed = operationFromDocument(apiSchema, document, operationName === null ? {} : { operationName });
      const isOn = (label: string): boolean => {
        const percentage = /^percent\((.+)\)$/.exec(label)?.[1];
        return percentage === undefined ? overrideLabels.includes(label) : Number(percentage) > overridePercentage;
      };
      const overrideConditions = new Map([...labels].map((label) => [label, isOn(label)]));
      const { node } = planner.buildQueryPlan(parsed, { overrideConditions });
      return { node: node ? rootNode(node) : null };
    },
  };
}

function rootNode(node: NonNullable<ApolloPlan["node"]>): PlanNode {
  if (node.kind !== "Subscription") return planNode(node);
  const subscription: PlanNode = { kind: "Subscription", primary: fetchNode(node.primary) };
  if (!node.rest) return subscription;
  const rest = planNode(node.rest);
  return { kind: "Sequence", nodes: [subscription, ...(rest.kind === "Sequence" ? rest.nodes : [rest])] };
}

function planNode(node: ApolloNode): PlanNode {
  switch (node.kind) {
    case "Fetch":
      return fetchNode(node);
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
    case "Defer":
      throw new Error("Deferred fragments are not supported.");
  }
}

function fetchNode(node: ApolloFetch): FetchNode {
  if (node.contextRewrites?.length) throw new Error("Arguments from context (@fromContext) are not supported.");
  return {
    kind: "Fetch",
    subgraph: node.serviceName,
    operation: node.operation,
    operationKind: node.operationKind,
    variables: node.variableUsages ?? [],
    requires: node.requires ? node.requires.map(requiresSelection) : null,
    inputRewrites: (node.inputRewrites ?? []).map(rewrite),
    outputRewrites: (node.outputRewrites ?? []).map(rewrite),
  };
}

function pathSegment(segment: string | number): PathSegment {
  return segment === "@" ? { kind: "List" } : { kind: "Field", key: String(segment) };
}

function requiresSelection(selection: QueryPlanSelectionNode): RequiresSelection {
  const selections = selection.selections?.map(requiresSelection) ?? [];
  if (selection.kind === "Field") {
    // Read and sent under the same key, unlike in the native planner's plans.
    const name = selection.alias ?? selection.name;
    return { kind: "Field", name, alias: null, selections: selections.length > 0 ? selections : null };
  }
  const typeCondition = selection.typeCondition ?? null;
  return { kind: "InlineFragment", typeCondition, skipIf: null, includeIf: null, selections };
}

type ApolloRewrite = NonNullable<ApolloFetch["inputRewrites"]>[number];

function rewrite(apollo: ApolloRewrite): Rewrite {
  const path = apollo.path.map(rewriteSegment);
  return apollo.kind === "KeyRenamer"
    ? { kind: "RenameKey", path, to: apollo.renameKeyTo }
    : { kind: "SetValue", path, value: String(apollo.setValueTo) };
}

function rewriteSegment(segment: string): RewriteSegment {
  const typeName = /^\.\.\. on (.+)$/.exec(segment)?.[1];
  return typeName === undefined ? { kind: "Key", key: segment } : { kind: "Types", names: [typeName] };
}
