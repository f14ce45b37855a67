import { Kind, parse, type DocumentNode, type FieldNode, type SelectionSetNode } from "graphql";
import type { PathSegment, PlanNode, Rewrite } from "./query-plan.ts";
import type { SubgraphTypes } from "./subgraph-types.ts";

type FetchingNode = Extract<PlanNode, { kind: "Fetch" | "BatchFetch" }>;

export interface Request {
  node: FetchingNode;
  subgraph: string;
  document: DocumentNode;
  renames: readonly Rewrite[];
  roots: Root[];
}

/** Where a request's answer goes. */
export interface Root {
  /** Keys joined by dots, which no GraphQL name has. */
  path: string;
  selectionSet: SelectionSetNode;
  /** Undefined for the operation's root type. */
  typeName?: string;
  /** Whether it adds to objects that another request brings. */
  isEntity: boolean;
}

/** What a request selects at one path. */
export interface Place extends Root {
  /** The type there, in the subgraph. */
  typeName: string;
  request: Request;
}

export function requestsOf(node: PlanNode): Request[] {
  switch (node.kind) {
    case "Fetch":
      return [requestOf(node, [], node.outputRewrites)];
    case "Flatten":
      return [requestOf(node.node, [{ alias: "_entities", paths: [node.path] }], node.node.outputRewrites)];
    case "BatchFetch":
      return [
        requestOf(
          node,
          node.batches,
          node.batches.flatMap(({ outputRewrites }) => outputRewrites),
        ),
      ];
    case "Subscription":
      return requestsOf(node.primary);
    case "Condition":
      return [node.ifTrue, node.ifFalse].flatMap((branch) => (branch ? requestsOf(branch) : []));
    case "Sequence":
    case "Parallel":
      return node.nodes.flatMap(requestsOf);
  }
}

function requestOf(
  node: FetchingNode,
  batches: readonly { alias: string; paths: readonly (readonly PathSegment[])[] }[],
  renames: readonly Rewrite[],
): Request {
  const document = parse(node.operation, { noLocation: true });
  const operation = document.definitions.find((definition) => definition.kind === Kind.OPERATION_DEFINITION);
  if (!operation) throw new Error("A fetch of the plan has no operation.");
  const roots = batches.flatMap(({ alias, paths }): Root[] => {
    const entities = operation.selectionSet.selections.flatMap((selection) =>
      selection.kind === Kind.FIELD && keyOf(selection) === alias && selection.selectionSet
        ? selection.selectionSet
        : [],
    );
    return paths.flatMap((path) => {
      const keys = path.flatMap((segment) => (segment.kind === "Field" ? segment.key : []));
      const at = keys.map((key) => `.${key}`).join("");
      return entities.map((selectionSet) => ({ path: at, selectionSet, typeName: "_Entity", isEntity: true }));
    });
  });
  const root = { path: "", selectionSet: operation.selectionSet, isEntity: false };
  return { node, subgraph: node.subgraph, document, renames, roots: batches.length > 0 ? roots : [root] };
}

export function addPlaces(place: Place, types: SubgraphTypes, places: Map<string, Place[]>): void {
  const known = places.get(place.path);
  if (known) known.push(place);
  else places.set(place.path, [place]);
  const visitSelections = (typeName: string, { selections }: SelectionSetNode): void => {
    for (const selection of selections) {
      if (selection.kind === Kind.INLINE_FRAGMENT)
        visitSelections(selection.typeCondition?.name.value ?? typeName, selection.selectionSet);
      if (selection.kind !== Kind.FIELD || !selection.selectionSet) continue;
      const field = types.field(place.request.subgraph, typeName, selection.name.value);
      if (!field) continue;
      const inner = { selectionSet: selection.selectionSet, typeName: field.namedType, isEntity: false };
      for (const key of keysOf(selection, place.request))
        addPlaces({ ...inner, path: `${place.path}.${key}`, request: place.request }, types, places);
    }
  };
  visitSelections(place.typeName, place.selectionSet);
}

/** The keys that a field may have in the data: its own, and what a rewrite renames that to. */
function keysOf(field: FieldNode, { renames }: Request): string[] {
  const key = keyOf(field);
  const renamed = renames.flatMap((rewrite) => {
    const last = rewrite.path.at(-1);
    return rewrite.kind === "RenameKey" && last?.kind === "Key" && last.key === key ? rewrite.to : [];
  });
  return [key, ...renamed];
}

export function keyOf(field: FieldNode): string {
  return field.alias?.value ?? field.name.value;
}

/** Whether a request brings a key of objects of a type. */
export function yields(
  { request, selectionSet }: Place,
  objectType: string,
  key: string,
  types: SubgraphTypes,
): boolean {
  const inSelections = ({ selections }: SelectionSetNode): boolean =>
    selections.some((selection) => {
      if (selection.kind === Kind.FIELD) return keysOf(selection, request).includes(key);
      if (selection.kind === Kind.FRAGMENT_SPREAD) return false;
      const condition = selection.typeCondition?.name.value ?? objectType;
      const isMet =
        condition === objectType ||
        (types.possibleTypes(request.subgraph, condition)?.has(objectType) ??
          types.isInterfaceObject(request.subgraph, condition));
      return isMet && inSelections(selection.selectionSet);
    });
  return inSelections(selectionSet);
}

export function withChanges(
  node: PlanNode,
  changes: ReadonlyMap<PlanNode, { operation: string; variables: string[] }>,
): PlanNode {
  const change = changes.get(node);
  switch (node.kind) {
    case "Fetch":
    case "BatchFetch":
      return { ...node, ...change };
    case "Flatten":
      return { ...node, node: { ...node.node, ...changes.get(node.node) } };
    case "Subscription":
      return { ...node, primary: { ...node.primary, ...changes.get(node.primary) } };
    case "Condition":
      return {
        ...node,
        ifTrue: node.ifTrue && withChanges(node.ifTrue, changes),
        ifFalse: node.ifFalse && withChanges(node.ifFalse, changes),
      };
    case "Sequence":
    case "Parallel":
      return { ...node, nodes: node.nodes.map((inner) => withChanges(inner, changes)) };
  }
}
