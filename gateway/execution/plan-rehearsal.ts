import { anonymous } from "@toolyard/service-kit";
import {
  getNamedType,
  isAbstractType,
  isCompositeType,
  isObjectType,
  isUnionType,
  Kind,
  parse,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLCompositeType,
  type GraphQLSchema,
  type SelectionNode,
  type SelectionSetNode,
} from "graphql";
import { createLifetime, type Execution, type Json } from "./execution.ts";
import { compilePlan } from "./plan-compiler.ts";
import type { PlannedSelection } from "./plan-repair.ts";
import type { QueryPlan } from "./query-plan.ts";
import { createSharedReads } from "./shared-reads.ts";
import { variablesOf, type SubgraphClient, type SubgraphRequest, type SubgraphResponse } from "./subgraph-client.ts";
import type { SubgraphTypes } from "./subgraph-types.ts";
import type { Supergraph } from "./supergraph.ts";

export interface PlanRehearsalOptions {
  /** What operations are valid against. */
  schema: GraphQLSchema;
  supergraph: Supergraph;
  types: SubgraphTypes;
}

/** Whether a plan brings everything that it was made for. */
export type PlanRehearsal = (plan: QueryPlan, planned: PlannedSelection) => Promise<boolean>;

/** No rehearsal makes more objects; what is larger is taken to be right. */
const maxObjects = 5_000;

/**
 * Runs plans over subgraphs that are made up: each answers by its schema, every list with an object of each type that may be in it, and
 * everything that is asked for is there. So what is missing in the end is what the plan forgets.
 *
 * Planners do, most often of objects that some subgraph knows by an interface's key alone (`@interfaceObject`): which type they are of is
 * found out late, and now and then a fetch for it is left out. It takes half a millisecond for most plans, once for each.
 */
export function createPlanRehearsal(options: PlanRehearsalOptions): PlanRehearsal {
  const { schema, supergraph } = options;

  return async (plan, planned) => {
    if (plan.node === null) return true;
    const runs = Math.min(4, mostTypes(schema, planned));
    for (let run = 0; run < runs; run++) {
      const stage: Stage = { ...options, run, objects: 0, isWrong: false };
      const compiled = compilePlan(plan, { clientOf: (name) => createActor(name, stage), supergraph });
      // What is completed for each event is planned as for a query.
      if (compiled.subscription) return true;
      const lifetime = createLifetime(undefined, Infinity);
      const execution: Execution = {
        data: {},
        errors: [],
        variables: {},
        context: { caller: anonymous, requestId: "" },
        signal: lifetime.signal,
        hasFailedFetch: false,
        responseKeys: new Map<string, string>(),
        reads: createSharedReads({ windowMs: 0 }),
        readScope: "",
        reader: null,
        log: undefined,
      };
      try {
        await compiled.run?.(execution);
      } finally {
        lifetime.end();
      }
      if (stage.objects > maxObjects) return true;
      if (stage.isWrong || !isComplete(execution.data, planned.rootType, planned.selectionSet.selections, schema))
        return false;
    }
    return true;
  };
}

interface Stage extends PlanRehearsalOptions {
  /** Which of the types that may be somewhere is there, where there is one object. */
  run: number;
  objects: number;
  /** A subgraph was not sent what it requires. */
  isWrong: boolean;
}

/** How many types one object of the operation may be of, at most. */
function mostTypes(schema: GraphQLSchema, { rootType, selectionSet }: PlannedSelection): number {
  let most = 1;
  const visitSelections = (type: GraphQLCompositeType, selections: readonly SelectionNode[]): void => {
    for (const selection of selections) {
      const inner = typeBelow(schema, type, selection);
      if (!inner || selection.kind === Kind.FRAGMENT_SPREAD || !selection.selectionSet) continue;
      if (isAbstractType(inner)) most = Math.max(most, schema.getPossibleTypes(inner).length);
      visitSelections(inner, selection.selectionSet.selections);
    }
  };
  visitSelections(rootType, selectionSet.selections);
  return most;
}

function typeBelow(
  schema: GraphQLSchema,
  type: GraphQLCompositeType,
  selection: SelectionNode,
): GraphQLCompositeType | null {
  if (selection.kind === Kind.FRAGMENT_SPREAD) return null;
  if (selection.kind === Kind.INLINE_FRAGMENT) {
    const condition = selection.typeCondition && schema.getType(selection.typeCondition.name.value);
    return isCompositeType(condition) ? condition : type;
  }
  const field = isUnionType(type) ? undefined : type.getFields()[selection.name.value];
  const named = field && getNamedType(field.type);
  return isCompositeType(named) ? named : null;
}

/** Whether there is something for everything selected of an object, or of each in a list. */
function isComplete(
  value: unknown,
  type: GraphQLCompositeType,
  selections: readonly SelectionNode[],
  schema: GraphQLSchema,
): boolean {
  if (Array.isArray(value)) return value.every((item) => isComplete(item, type, selections, schema));
  if (typeof value !== "object" || value === null) return false;
  // An object that is not an array: its fields are looked up by key only.
  const object = value as Json;
  const named = schema.getType(String(object["__typename"]));
  const own = isObjectType(type) ? type : isObjectType(named) ? named : null;
  const isThere = (inner: readonly SelectionNode[]): boolean =>
    inner.every((selection) => {
      if (selection.kind === Kind.FRAGMENT_SPREAD) return true;
      if (selection.kind === Kind.INLINE_FRAGMENT) {
        const condition = typeBelow(schema, type, selection);
        // Nobody can tell whether it applies.
        if (own === null) return false;
        const applies = condition === own || (isAbstractType(condition) && schema.isSubType(condition, own));
        return !applies || isThere(selection.selectionSet.selections);
      }
      if (selection.name.value === "__typename") return own !== null;
      const below = object[selection.alias?.value ?? selection.name.value];
      if (below === undefined || below === null) return false;
      const inside = own ?? type;
      const next = typeBelow(schema, inside, selection);
      return !next || !selection.selectionSet || isComplete(below, next, selection.selectionSet.selections, schema);
    });
  return isThere(selections);
}

/** A subgraph that answers everything it is asked, so that every leaf says of which type its object is. */
function createActor(subgraph: string, stage: Stage): SubgraphClient {
  const { schema, types, supergraph } = stage;
  const subgraphs = [...supergraph.subgraphUrls.keys()];

  /** The types that objects may be of where a subgraph has one of type `typeName`. */
  function possibleTypes(typeName: string, there = subgraph): string[] {
    const members = types.possibleTypes(there, typeName);
    const type = schema.getType(typeName);
    if (!members) return isAbstractType(type) ? schema.getPossibleTypes(type).map(({ name }) => name) : [typeName];
    // Others cannot be in any answer.
    return [...members].filter((name) => schema.getType(name));
  }

  /** What a subgraph calls an object of a type: some it knows by an interface only. */
  function nameIn(there: string, typeName: string): string {
    const type = schema.getType(typeName);
    if (types.hasType(there, typeName) || !isObjectType(type)) return typeName;
    const known = type.getInterfaces().find(({ name }) => types.isInterfaceObject(there, name));
    return known?.name ?? typeName;
  }

  /** The types that the objects of a field may be of: those that all subgraphs have there, who are to give the same. */
  function typesAt(typeName: string, fieldName: string, namedType: string): string[] {
    const own = possibleTypes(namedType);
    const shared = own.filter((candidate) =>
      subgraphs.every((other) => {
        const field = types.field(other, nameIn(other, typeName), fieldName);
        return !field || possibleTypes(field.namedType, other).includes(candidate);
      }),
    );
    return shared.length > 0 ? shared : own;
  }

  function answer(
    typeName: string,
    selectionSets: readonly SelectionSetNode[],
    fragments: ReadonlyMap<string, FragmentDefinitionNode>,
    sent: Json | null,
  ): Json {
    stage.objects++;
    const name = nameIn(subgraph, typeName);
    const result: Json = {};
    const inner = new Map<string, { field: FieldNode; selectionSets: SelectionSetNode[] }>();
    const collect = ({ selections }: SelectionSetNode): void => {
      for (const selection of selections) {
        if (selection.kind === Kind.FIELD) {
          const key = selection.alias?.value ?? selection.name.value;
          const known = inner.get(key) ?? { field: selection, selectionSets: [] };
          inner.set(key, known);
          if (selection.selectionSet) known.selectionSets.push(selection.selectionSet);
          continue;
        }
        const fragment = selection.kind === Kind.FRAGMENT_SPREAD ? fragments.get(selection.name.value) : selection;
        const condition = fragment?.typeCondition?.name.value ?? name;
        const applies = condition === name || (types.possibleTypes(subgraph, condition)?.has(name) ?? false);
        if (fragment && applies) collect(fragment.selectionSet);
      }
    };
    selectionSets.forEach(collect);
    for (const [key, { field, selectionSets: below }] of inner) {
      if (field.name.value === "__typename") {
        result[key] = name;
        continue;
      }
      const known = types.field(subgraph, name, field.name.value);
      if (known?.requires && !(sent && hasAll(sent, known.requires))) stage.isWrong = true;
      if (below.length === 0 || !known) {
        result[key] = typeName;
        continue;
      }
      const candidates = typesAt(typeName, field.name.value, known.namedType);
      const depth = known.type.split("[").length - 1;
      const one = candidates[stage.run % candidates.length];
      if (stage.objects > maxObjects || one === undefined) result[key] = depth > 0 ? [] : null;
      else if (depth === 0) result[key] = answer(one, below, fragments, null);
      else {
        let list: unknown = candidates.map((candidate) => answer(candidate, below, fragments, null));
        for (let i = 1; i < depth; i++) list = [list];
        result[key] = list;
      }
    }
    return result;
  }

  function execute(request: SubgraphRequest): SubgraphResponse {
    const document = parse(request.query, { noLocation: true });
    const fragments = new Map<string, FragmentDefinitionNode>();
    let root: SelectionSetNode | undefined;
    let rootType = "Query";
    for (const definition of document.definitions) {
      if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments.set(definition.name.value, definition);
      if (definition.kind !== Kind.OPERATION_DEFINITION) continue;
      root = definition.selectionSet;
      rootType = schema.getRootType(definition.operation)?.name ?? rootType;
    }
    const data: Json = {};
    for (const selection of root?.selections ?? []) {
      if (selection.kind !== Kind.FIELD || !selection.selectionSet || selection.name.value !== "_entities") continue;
      const variable = selection.arguments?.[0]?.value;
      const sent = variable?.kind === Kind.VARIABLE ? variablesOf(request)[variable.name.value] : [];
      const { selectionSet } = selection;
      data[selection.alias?.value ?? "_entities"] = (Array.isArray(sent) ? sent : []).map((representation: Json) => {
        const typeName = typeOf(representation, possibleTypes(String(representation["__typename"])));
        return typeName === null ? null : answer(typeName, [selectionSet], fragments, representation);
      });
    }
    if (Object.keys(data).length === 0 && root) Object.assign(data, answer(rootType, [root], fragments, null));
    return { data };
  }

  return {
    name: subgraph,
    execute: (request) => Promise.resolve(execute(request)),
    async *subscribe() {},
    close: () => Promise.resolve(),
  };
}

/** Of which of some types an object is, by what its leaves say. */
function typeOf(object: Json, candidates: readonly string[]): string | null {
  if (candidates.length === 1) return candidates[0] ?? null;
  for (const value of Object.values(object)) if (candidates.includes(String(value))) return String(value);
  return null;
}

/** Whether an object has what a `@requires` names: fields of an abstract type are not looked into. */
function hasAll(object: Json, requires: SelectionSetNode): boolean {
  return requires.selections.every((selection) => {
    if (selection.kind !== Kind.FIELD) return true;
    const value = object[selection.name.value];
    if (value === undefined) return false;
    const { selectionSet } = selection;
    if (!selectionSet || value === null) return true;
    const all = Array.isArray(value) ? value.flat(Infinity) : [value];
    return all.every((item) => typeof item !== "object" || item === null || hasAll(item as Json, selectionSet));
  });
}
