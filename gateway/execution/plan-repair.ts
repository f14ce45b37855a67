import {
  getNamedType,
  isCompositeType,
  isObjectType,
  isUnionType,
  Kind,
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
import { addPlaces, keyOf, requestsOf, withChanges, yields, type Place, type Request } from "./plan-places.ts";
import type { PlanNode, QueryPlan } from "./query-plan.ts";
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
