import {
  Kind,
  print,
  visit,
  type ArgumentNode,
  type DirectiveNode,
  type SelectionNode,
  type SelectionSetNode,
  type VariableDefinitionNode,
} from "graphql";
import type { EntityBatch, PathSegment, PlanNode, RequiresSelection, Rewrite } from "./query-plan.ts";
import { selectionSetOf } from "./resolution.ts";

/** A request under construction. */
export interface Draft {
  subgraph: string;
  kind: "query" | "mutation" | "subscription";
  /** Later than all requests of lower levels. */
  level: number;
  path: PathSegment[];
  /** The type of the requested entities, and the selection of their representations; null for root fields. */
  entity: { typeName: string; requires: RequiresSelection[]; inputRewrites: Rewrite[] } | null;
  selections: Selections;
  outputRewrites: Rewrite[];
}

/** A selection that grows. */
export interface Selections {
  fields: Map<string, SelectedField>;
  fragments: Map<string, Selections>;
}

interface SelectedField {
  name: string;
  args: readonly ArgumentNode[];
  directives: readonly DirectiveNode[];
  inner: Selections | null;
}

export function createSelections(): Selections {
  return { fields: new Map(), fragments: new Map() };
}

/** The selections for objects of one type. */
export function fragmentOf(selections: Selections, typeName: string): Selections {
  let fragment = selections.fragments.get(typeName);
  if (!fragment) selections.fragments.set(typeName, (fragment = createSelections()));
  return fragment;
}

export interface DraftOptions {
  variableDefinitions: readonly VariableDefinitionNode[];
  /** A prefix that no variable has. */
  prefix: string;
}

/** Requests that do not wait for each other: those for entities are one for each subgraph. */
export function planNodesOf(drafts: readonly Draft[], options: DraftOptions): PlanNode[] {
  const bySubgraph = Map.groupBy(
    drafts.filter(({ entity }) => entity),
    ({ subgraph }) => subgraph,
  );
  return [
    ...drafts.filter(({ entity }) => !entity).map((draft) => rootNode(draft, options)),
    ...[...bySubgraph].map(([subgraph, entities]) => entitiesNode(subgraph, entities, options)),
  ];
}

function rootNode({ subgraph, kind, path, selections, outputRewrites }: Draft, options: DraftOptions): PlanNode {
  const selectionSet = selectionSetOf(selectionsOf(selections));
  const { variables, declared } = variablesIn([selectionSet], options);
  const operation = `${kind}${declared.length > 0 ? `(${declared.join(", ")})` : ""} ${print(selectionSet)}`;
  const common = { kind: "Fetch", subgraph, operation, operationKind: kind, variables, requires: null } as const;
  const fetch = { ...common, inputRewrites: [], outputRewrites };
  if (kind === "subscription") return { kind: "Subscription", primary: fetch };
  return path.length > 0 ? { kind: "Flatten", path, node: fetch } : fetch;
}

function entitiesNode(subgraph: string, drafts: readonly Draft[], options: DraftOptions): PlanNode {
  const selectionSets = drafts.map(({ selections }) => selectionSetOf(selectionsOf(selections)));
  const { variables, declared } = variablesIn(selectionSets, options);
  const batches = drafts.flatMap(({ entity, path, outputRewrites }, index): EntityBatch[] => {
    if (!entity) return [];
    const { requires, inputRewrites } = entity;
    const alias = drafts.length > 1 ? `${options.prefix}e${index}` : "_entities";
    const representationsVariable = `${options.prefix}representations${index}`;
    return [{ alias, representationsVariable, paths: [path], requires, inputRewrites, outputRewrites }];
  });
  const head = batches.map(({ representationsVariable }) => `$${representationsVariable}: [_Any!]!`);
  const fields = batches.map(({ alias, representationsVariable }, index) => {
    const key = alias === "_entities" ? alias : `${alias}: _entities`;
    // A selection for each batch.
    return `${key}(representations: $${representationsVariable}) ${print(selectionSets[index] as SelectionSetNode)}`;
  });
  const operation = `query(${[...head, ...declared].join(", ")}) { ${fields.join(" ")} }`;
  return { kind: "BatchFetch", subgraph, operation, variables, batches };
}

function variablesIn(selectionSets: readonly SelectionSetNode[], { variableDefinitions }: DraftOptions) {
  const used = new Set<string>();
  for (const selectionSet of selectionSets) visit(selectionSet, { Variable: ({ name }) => void used.add(name.value) });
  const definitions = variableDefinitions.filter(({ variable }) => used.has(variable.name.value));
  return {
    variables: [...used],
    declared: definitions.map((definition) => print({ ...definition, directives: [] })),
  };
}

function selectionsOf({ fields, fragments }: Selections): SelectionNode[] {
  return [
    ...[...fields].map(([key, { name, args, directives, inner }]): SelectionNode => ({
      kind: Kind.FIELD,
      name: { kind: Kind.NAME, value: name },
      arguments: args,
      directives,
      ...(key !== name && { alias: { kind: Kind.NAME, value: key } }),
      ...(inner && { selectionSet: selectionSetOf(selectionsOf(inner)) }),
    })),
    ...[...fragments].flatMap(([typeName, inner]): SelectionNode[] => {
      const selections = selectionsOf(inner);
      if (selections.length === 0) return [];
      const typeCondition = { kind: Kind.NAMED_TYPE, name: { kind: Kind.NAME, value: typeName } } as const;
      return [{ kind: Kind.INLINE_FRAGMENT, typeCondition, selectionSet: selectionSetOf(selections) }];
    }),
  ];
}
