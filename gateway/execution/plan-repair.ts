import {
  getNamedType,
  isCompositeType,
  isObjectType,
  isUnionType,
  Kind,
  parse,
  print,
  visit,
  type DocumentNode,
  type FieldNode,
  type GraphQLCompositeType,
  type GraphQLSchema,
  type SelectionNode,
  type SelectionSetNode,
  type VariableDefinitionNode,
} from "graphql";
import type { PathSegment, PlanNode, QueryPlan, Rewrite } from "./query-plan.ts";
import type { SubgraphTypes } from "./subgraph-types.ts";

/** What a plan was made for, normalized: no spreads, no conditions. */
export interface PlannedSelection {
  rootType: GraphQLCompositeType;
  selectionSet: SelectionSetNode;
  variableDefinitions: readonly VariableDefinitionNode[];
}

export type PlanRepair = (plan: QueryPlan, planned: PlannedSelection) => QueryPlan;

/**
 * Puts into a plan what planners leave out of it. Where several subgraphs have a field whose union or interface has other object types
 * in each, they ask only for those that all have in common; a subgraph that answers with another one of its own would then give an
 * object without fields. These fields are asked for in the same fetch, if the subgraph has them. Other plans are given back as they are.
 *
 * @throws Error when the plan leaves out a field of the operation's root
 */
export function createPlanRepair(schema: GraphQLSchema, types: SubgraphTypes): PlanRepair {
  return (plan, planned) => {
    const requests = plan.node ? requestsOf(plan.node) : [];
    const unanswered = unansweredKeys(requests, planned);
    // Told like a planner's refusal: the answer would have a null that nothing explains.
    if (unanswered.length > 0) throw new Error(`The plan fetches nothing for ${unanswered.join(", ")}.`);
    if (types.partialTypes.size === 0) return plan;
    const places = new Map<string, Place[]>();
    for (const request of requests) {
      for (const { typeName = planned.rootType.name, ...root } of request.roots)
        addPlaces({ ...root, typeName, request }, types, places);
    }
    const additions = new Map<SelectionSetNode, SelectionNode[]>();
    const variables = new Map<Request, Set<string>>();
    for (const wanted of wantedPlaces(schema, planned)) {
      const here = places.get(wanted.path) ?? [];
      for (const place of here) {
        if (place.isEntity || !types.partialTypes.has(place.typeName)) continue;
        const { request, selectionSet } = place;
        for (const objectType of types.possibleTypes(request.subgraph, place.typeName) ?? []) {
          const selections = wanted.fieldsOf(objectType).flatMap((field): FieldNode[] => {
            if (here.some((other) => yields(other, objectType, keyOf(field), types))) return [];
            const own = ownField(field, objectType, request.subgraph, types);
            return own && !conflicts(own, objectType, place, types) ? [own] : [];
          });
          if (selections.length === 0) continue;
          additions.set(selectionSet, [...(additions.get(selectionSet) ?? []), fragmentOn(objectType, selections)]);
          const used = variables.get(request) ?? new Set<string>();
          variables.set(request, used);
          for (const field of selections) visit(field, { Variable: ({ name }) => void used.add(name.value) });
        }
      }
    }
    if (plan.node === null || additions.size === 0) return plan;
    const changes = new Map<PlanNode, { operation: string; variables: string[] }>();
    for (const request of requests) {
      const more = [...(variables.get(request) ?? [])].filter((name) => !request.node.variables.includes(name));
      const definitions = planned.variableDefinitions.filter(({ variable }) => more.includes(variable.name.value));
      const operation = print(withAdditions(request.document, additions, definitions));
      changes.set(request.node, { operation, variables: [...request.node.variables, ...more] });
    }
    return { node: withChanges(plan.node, changes) };
  };
}

type FetchingNode = Extract<PlanNode, { kind: "Fetch" | "BatchFetch" }>;

interface Request {
  node: FetchingNode;
  subgraph: string;
  document: DocumentNode;
  renames: readonly Rewrite[];
  roots: Root[];
}

/** Where a request's answer goes. */
interface Root {
  /** Keys joined by dots, which no GraphQL name has. */
  path: string;
  selectionSet: SelectionSetNode;
  /** Undefined for the operation's root type. */
  typeName?: string;
  /** Whether it adds to objects that another request brings. */
  isEntity: boolean;
}

/** What a request selects at one path. */
interface Place extends Root {
  /** The type there, in the subgraph. */
  typeName: string;
  request: Request;
}

function requestsOf(node: PlanNode): Request[] {
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

function unansweredKeys(requests: readonly Request[], { selectionSet }: PlannedSelection): string[] {
  const fetched = new Set<string>();
  for (const { roots } of requests) {
    for (const root of roots) {
      if (root.isEntity) continue;
      for (const selection of root.selectionSet.selections)
        if (selection.kind === Kind.FIELD) fetched.add(keyOf(selection));
    }
  }
  const wanted = selectionSet.selections.flatMap((selection) =>
    selection.kind === Kind.FIELD ? keyOf(selection) : [],
  );
  return wanted.filter((key) => key !== "__typename" && !fetched.has(key));
}

function addPlaces(place: Place, types: SubgraphTypes, places: Map<string, Place[]>): void {
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

function keyOf(field: FieldNode): string {
  return field.alias?.value ?? field.name.value;
}

interface Wanted {
  path: string;
  fieldsOf(objectType: string): FieldNode[];
}

/** The places of the operation that have a selection, in any order. */
function wantedPlaces(schema: GraphQLSchema, { rootType, selectionSet }: PlannedSelection): Wanted[] {
  const all: Wanted[] = [];
  const add = (path: string, type: GraphQLCompositeType, selections: readonly SelectionNode[]): void => {
    all.push({ path, fieldsOf: (objectType) => fieldsFor(schema, objectType, selections) });
    const visitSelections = (parent: GraphQLCompositeType, inner: readonly SelectionNode[]): void => {
      for (const selection of inner) {
        if (selection.kind === Kind.INLINE_FRAGMENT) {
          const condition = selection.typeCondition && schema.getType(selection.typeCondition.name.value);
          visitSelections(isCompositeType(condition) ? condition : parent, selection.selectionSet.selections);
        }
        if (selection.kind !== Kind.FIELD || !selection.selectionSet || isUnionType(parent)) continue;
        const definition = parent.getFields()[selection.name.value];
        const below = definition && getNamedType(definition.type);
        if (isCompositeType(below)) add(`${path}.${keyOf(selection)}`, below, selection.selectionSet.selections);
      }
    };
    visitSelections(type, selections);
  };
  add("", rootType, selectionSet.selections);
  return all;
}

/** What the operation wants of objects of a type. None of types that it cannot know. */
function fieldsFor(schema: GraphQLSchema, objectType: string, selections: readonly SelectionNode[]): FieldNode[] {
  const type = schema.getType(objectType);
  if (!isObjectType(type)) return [];
  return selections.flatMap((selection): FieldNode[] => {
    if (selection.kind === Kind.FIELD) return selection.name.value.startsWith("__") ? [] : [selection];
    if (selection.kind === Kind.FRAGMENT_SPREAD) return [];
    const condition = selection.typeCondition && schema.getType(selection.typeCondition.name.value);
    const applies =
      condition === undefined ||
      condition === type ||
      (isCompositeType(condition) && !isObjectType(condition) && schema.isSubType(condition, type));
    return applies ? fieldsFor(schema, objectType, selection.selectionSet.selections) : [];
  });
}

/** Whether a request brings a key of objects of a type. */
function yields({ request, selectionSet }: Place, objectType: string, key: string, types: SubgraphTypes): boolean {
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

/** As much of a field as its subgraph can be asked for; null when that is nothing. */
function ownField(field: FieldNode, typeName: string, subgraph: string, types: SubgraphTypes): FieldNode | null {
  const known = types.field(subgraph, typeName, field.name.value);
  if (!known?.isOwn) return null;
  if (!field.selectionSet) return field;
  const selections = ownSelections(field.selectionSet, known.namedType, subgraph, types);
  // Of an abstract type, it must be known what came.
  const isAbstract = types.possibleTypes(subgraph, known.namedType) !== undefined;
  return { ...field, selectionSet: selectionSetOf(isAbstract ? [typeNameField, ...selections] : selections) };
}

function ownSelections(
  { selections }: SelectionSetNode,
  typeName: string,
  subgraph: string,
  types: SubgraphTypes,
): SelectionNode[] {
  const own = selections.flatMap((selection): SelectionNode[] => {
    if (selection.kind === Kind.FRAGMENT_SPREAD) return [];
    if (selection.kind === Kind.INLINE_FRAGMENT) {
      const condition = selection.typeCondition?.name.value ?? typeName;
      const isKnown = condition === typeName || types.hasType(subgraph, condition);
      if (!isKnown) return [];
      return [
        {
          ...selection,
          selectionSet: selectionSetOf(ownSelections(selection.selectionSet, condition, subgraph, types)),
        },
      ];
    }
    if (selection.name.value === "__typename") return [selection];
    return [ownField(selection, typeName, subgraph, types)].filter((field) => field !== null);
  });
  return own.length > 0 ? own : [typeNameField];
}

/** Whether a request could not have the field beside what it selects already: section 5.3.2 of the specification. */
function conflicts(field: FieldNode, objectType: string, place: Place, types: SubgraphTypes): boolean {
  const { subgraph } = place.request;
  const mine = types.field(subgraph, objectType, field.name.value)?.type;
  const inSelections = (typeName: string, { selections }: SelectionSetNode): boolean =>
    selections.some((selection) => {
      if (selection.kind === Kind.INLINE_FRAGMENT)
        return inSelections(selection.typeCondition?.name.value ?? typeName, selection.selectionSet);
      if (selection.kind !== Kind.FIELD || keyOf(selection) !== keyOf(field)) return false;
      // What is below might conflict as well.
      return field.selectionSet !== undefined || types.field(subgraph, typeName, selection.name.value)?.type !== mine;
    });
  return inSelections(place.typeName, place.selectionSet);
}

function fragmentOn(typeName: string, selections: readonly SelectionNode[]): SelectionNode {
  const typeCondition = { kind: Kind.NAMED_TYPE, name: { kind: Kind.NAME, value: typeName } } as const;
  return { kind: Kind.INLINE_FRAGMENT, typeCondition, selectionSet: selectionSetOf(selections) };
}

function selectionSetOf(selections: readonly SelectionNode[]): SelectionSetNode {
  return { kind: Kind.SELECTION_SET, selections };
}

const typeNameField: FieldNode = { kind: Kind.FIELD, name: { kind: Kind.NAME, value: "__typename" } };

function withAdditions(
  document: DocumentNode,
  additions: ReadonlyMap<SelectionSetNode, readonly SelectionNode[]>,
  variableDefinitions: readonly VariableDefinitionNode[],
): DocumentNode {
  return visit(document, {
    OperationDefinition: (node) => ({
      ...node,
      variableDefinitions: [...(node.variableDefinitions ?? []), ...variableDefinitions],
    }),
    SelectionSet: (node) => {
      const more = additions.get(node);
      return more ? { ...node, selections: [...node.selections, ...more] } : undefined;
    },
  });
}

function withChanges(
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
