import {
  Kind,
  print,
  visit,
  type ArgumentNode,
  type DirectiveNode,
  type SelectionNode,
  type VariableDefinitionNode,
} from "graphql";
import type { PathSegment, PlanNode, RequiresSelection, Rewrite } from "./query-plan.ts";
import { selectionSetOf } from "./resolution.ts";

/** A request under construction. */
export interface Draft {
  subgraph: string;
  kind: "query" | "mutation" | "subscription";
  /** Later than all requests of lower levels. */
  level: number;
  path: PathSegment[];
  /** Of what type entities are asked for, and what their representations are made of; null for root fields. */
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
  /** A name that no variable has. */
  representationsVariable: string;
}

export function planNodeOf(draft: Draft, { variableDefinitions, representationsVariable }: DraftOptions): PlanNode {
  const { subgraph, kind, path, entity, outputRewrites } = draft;
  const selectionSet = selectionSetOf(selectionsOf(draft.selections));
  const used = new Set<string>();
  visit(selectionSet, { Variable: ({ name }) => void used.add(name.value) });
  const definitions = variableDefinitions.filter(({ variable }) => used.has(variable.name.value));
  const variables = [...used];
  const declared = definitions.map((definition) => print({ ...definition, directives: [] }));
  if (entity) {
    const head = [`$${representationsVariable}: [_Any!]!`, ...declared].join(", ");
    const operation = `query(${head}) { _entities(representations: $${representationsVariable}) ${print(selectionSet)} }`;
    const { requires, inputRewrites } = entity;
    const batch = {
      alias: "_entities",
      representationsVariable,
      paths: [path],
      requires,
      inputRewrites,
      outputRewrites,
    };
    return { kind: "BatchFetch", subgraph, operation, variables, batches: [batch] };
  }
  const operation = `${kind}${declared.length > 0 ? `(${declared.join(", ")})` : ""} ${print(selectionSet)}`;
  const common = { kind: "Fetch", subgraph, operation, operationKind: kind, variables, requires: null } as const;
  const fetch = { ...common, inputRewrites: [], outputRewrites };
  if (kind === "subscription") return { kind: "Subscription", primary: fetch };
  return path.length > 0 ? { kind: "Flatten", path, node: fetch } : fetch;
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
