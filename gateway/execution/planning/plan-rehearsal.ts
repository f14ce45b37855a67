import { anonymous } from "@toolyard/service-kit/identity/caller.ts";
import { messageOf } from "@toolyard/service-kit/errors/errors.ts";
import {
  execute,
  getNamedType,
  getOperationAST,
  isAbstractType,
  isInputObjectType,
  isListType,
  isNonNullType,
  isEnumType,
  isObjectType,
  Kind,
  parse,
  typeFromAST,
  validate,
  type DocumentNode,
  type ExecutionResult,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLInputType,
  type GraphQLNamedType,
  type GraphQLResolveInfo,
  type GraphQLSchema,
  type OperationDefinitionNode,
  type SelectionSetNode,
} from "graphql";
import { createLifetime, type Execution, type Json } from "../running/execution.ts";
import { covers, createMadeUpGraph, readMadeUpKeys, type MadeUpGraph, type MadeUpObject } from "./made-up-graph.ts";
import { compilePlan } from "../running/plan-compiler.ts";
import { createProjection, type Projection } from "../running/projection.ts";
import type { PlanNode, QueryPlan } from "./query-plan.ts";
import type { PlanRequest } from "./query-planner.ts";
import { createSharedReads } from "../running/shared-reads.ts";
import { variablesOf, type SubgraphClient, type SubgraphRequest } from "../clients/subgraph-client.ts";
import { createSubgraphSchemas } from "../schema/subgraph-schemas.ts";
import { providedBelow, type SubgraphTypes } from "../schema/subgraph-types.ts";
import type { Supergraph } from "../schema/supergraph.ts";

/** Describes the fault of a plan; null when there is none. Never rejects. */
export type PlanRehearsal = (plan: QueryPlan, request: PlanRequest) => Promise<string | null>;

export interface PlanRehearsalOptions {
  supergraph: Supergraph;
  types: SubgraphTypes;
  /** The whole graph's, without types and fields that no answer may have. */
  schema: GraphQLSchema;
}

/** After so long no further graph is made up; one always is. */
const BUDGET_MS = 300;
const MIN_RUNS = 3;
const MAX_RUNS = 40;

/**
 * Judges plans by running them over generated subgraphs (see made-up-graph.ts), and comparing with graphql-js's answer over
 * all of their data at once. Each request must be valid against its subgraph's schema, ask for nothing that the subgraph does not have,
 * and bring the required fields: the same values that the whole graph has, under the arguments that were required.
 */
export function createPlanRehearsal(options: PlanRehearsalOptions): PlanRehearsal {
  const { supergraph, types, schema } = options;
  const schemaOf = createSubgraphSchemas(supergraph.document);
  // Not at the first operation: with many subgraphs it takes longer than a first plan may.
  const keys = readMadeUpKeys(types, schemaOf);

  return async (plan, request) => {
    try {
      return await faultOf(plan, request);
    } catch (error) {
      return `It could not be judged: ${messageOf(error)}`;
    }
  };

  async function faultOf(plan: QueryPlan, request: PlanRequest): Promise<string | null> {
    const began = performance.now();
    const document = parse(request.operation, { noLocation: true });
    const operation = getOperationAST(document, request.operationName);
    if (!operation) return "It is of another operation.";
    const invalid = invalidRequest(plan, schemaOf);
    if (invalid !== null) return invalid;
    const preferredTypes = typesNamedIn(document);
    const breadth = request.operation.length < 10_000 ? 12 : request.operation.length < 50_000 ? 3 : 1;
    const seen: Run["seen"] = new Map();
    const aims = aimsOf(operation, schema);
    for (let number = 0; number < MAX_RUNS; number++) {
      if (number > 0 && performance.now() - began > BUDGET_MS) break;
      // Every second graph has nulls and errors, which hide everything below them.
      const aim = number % 2 === 0 ? nextUnseen(aims, seen) : undefined;
      if (number >= MIN_RUNS && number % 2 === 0 && !aim) break;
      const wishes = aim?.wishes ?? new Map<string, ReadonlySet<string>>();
      const graph = createMadeUpGraph({
        schema,
        supergraph,
        types,
        schemaOf,
        keys,
        preferredTypes,
        number,
        wishes,
        breadth,
      });
      const variables = madeUpVariables(operation, schema, request.conditions ?? {}, number);
      const fault = await run({ ...options, graph, schemaOf, plan, document, operation, variables, seen });
      if (fault !== null && !graph.isAmbiguous) return fault;
    }
    return null;
  }
}

/** Why a subgraph would refuse a plan's request. */
function invalidRequest(plan: QueryPlan, schemaOf: (subgraph: string) => GraphQLSchema): string | null {
  for (const { subgraph, operation } of plan.node ? requestsOf(plan.node) : []) {
    const [error] = validate(schemaOf(subgraph), parse(operation, { noLocation: true }), undefined, { maxErrors: 1 });
    if (error) return `The subgraph "${subgraph}" would refuse a request of it: ${error.message}`;
  }
  return null;
}

function requestsOf(node: PlanNode): { subgraph: string; operation: string }[] {
  switch (node.kind) {
    case "Fetch":
    case "BatchFetch":
      return [node];
    case "Flatten":
      return [node.node];
    case "Subscription":
      return [node.primary];
    case "Condition":
      return [node.ifTrue, node.ifFalse].flatMap((branch) => (branch ? requestsOf(branch) : []));
    case "Sequence":
    case "Parallel":
      return node.nodes.flatMap(requestsOf);
  }
}

interface Run extends PlanRehearsalOptions {
  graph: MadeUpGraph;
  schemaOf(subgraph: string): GraphQLSchema;
  plan: QueryPlan;
  document: DocumentNode;
  operation: OperationDefinitionNode;
  variables: Json;
  /** For which types of objects each field was answered in some run. */
  seen: Map<FieldNode, Set<string>>;
}

async function run(options: Run): Promise<string | null> {
  const { graph, schema, plan, document, operation, variables, supergraph, seen } = options;
  const faults: string[] = [];
  const mutations: { done: string[]; expected: string[] } = { done: [], expected: [] };
  const client = (subgraph: string) => createActor(subgraph, options, faults, mutations.done);
  const execution = executionOf(variables);
  const lifetime = createLifetime(undefined, Infinity);
  execution.signal = lifetime.signal;
  try {
    const compiled = compilePlan(plan, { clientOf: client, supergraph });
    if (compiled.subscription) {
      const { fetch, takeEvent, client: publisher } = compiled.subscription;
      const given = Object.fromEntries(Object.entries(variables).filter(([name]) => fetch.variables.includes(name)));
      const { context, signal } = execution;
      takeEvent(await publisher.execute({ query: fetch.operation, variables: given, context, signal }), execution);
    }
    await compiled.run?.(execution);
  } catch (error) {
    return `It does not run: ${messageOf(error)}`;
  } finally {
    lifetime.end();
  }
  // Subgraphs were asked first: where their possible answers differ, the graph has the ones that they gave.
  const expected = await execute({
    schema,
    document,
    operationName: operation.name?.value ?? null,
    variableValues: variables,
    rootValue: graph.root(schema.getRootType(operation.operation)?.name ?? "Query"),
    fieldResolver(source: MadeUpObject, args: Json, _context, { fieldName, fieldNodes, parentType, path }) {
      for (const node of fieldNodes) seen.set(node, (seen.get(node) ?? new Set()).add(parentType.name));
      if (parentType === schema.getMutationType()) mutations.expected.push(String(path.key));
      return graph.value(source, fieldName, args, null);
    },
    typeResolver: ({ typeName }: MadeUpObject) => typeName,
  });
  if (faults[0] !== undefined) return faults[0];
  const answered = projectionOf(operation, schema, variables)(execution.data, () => true);
  const difference = differenceAt(expected.data, answered.data, "");
  if (difference !== null) return `Something else is answered ${difference}`;
  if (expected.errors && execution.errors.length === 0) return "Errors are lost.";
  if (mutations.done.join() !== mutations.expected.join()) return "The mutations are not done once each, in turn.";
  return null;
}

function executionOf(variables: Json): Execution {
  const { signal } = createLifetime(undefined, Infinity);
  return {
    data: {},
    errors: [],
    variables,
    context: { caller: anonymous, requestId: "" },
    signal,
    hasFailedFetch: false,
    responseKeys: new Map<string, string>(),
    reads: createSharedReads({ windowMs: 0 }),
    readScope: "",
    reader: null,
    log: undefined,
  };
}

/** The operation is a plan's: without spreads, and its keys are the data's. */
function projectionOf(definition: OperationDefinitionNode, schema: GraphQLSchema, variables: Json): Projection {
  const operation = {
    kind: definition.operation,
    definition,
    fragments: new Map<string, FragmentDefinitionNode>(),
    dataKeyOf: ({ alias, name }: FieldNode) => (alias ?? name).value,
  };
  return createProjection({ schema, operation, isTrue: (name) => variables[name] === true, isDenied: undefined });
}

/** Where and how the answer differs from the expected one. */
function differenceAt(expected: unknown, given: unknown, path: string): string | null {
  if (typeof expected !== "object" || expected === null || typeof given !== "object" || given === null) {
    if ((expected ?? null) === (given ?? null)) return null;
    const shown = (value: unknown) =>
      typeof value === "object" && value !== null ? "something" : JSON.stringify(value);
    return `at "${path}": ${shown(given ?? null)} instead of ${shown(expected ?? null)}`;
  }
  if (Array.isArray(expected) && (!Array.isArray(given) || given.length !== expected.length))
    return `at "${path}": another list`;
  for (const [key, value] of Object.entries(expected)) {
    // Both are objects or lists, read by key only.
    const difference = differenceAt(value, (given as Json)[key], path === "" ? key : `${path}.${key}`);
    if (difference !== null) return difference;
  }
  return null;
}

/** An object on its way through a subgraph. */
interface Sourced {
  object: MadeUpObject;
  /** The representation that it was asked by. */
  sent: Json | null;
  /** External fields that come with it. */
  provided: readonly SelectionSetNode[];
}

/** A subgraph of a generated graph, which knows what its schema declares. */
function createActor(
  subgraph: string,
  { graph, schemaOf, types, supergraph, schema }: Run,
  faults: string[],
  mutations: string[],
): SubgraphClient {
  const own = schemaOf(subgraph);

  function entityOf(representation: Json): Sourced | null {
    const typeName = String(representation["__typename"]);
    const object = graph.find(subgraph, typeName, representation);
    const isOne =
      object &&
      (types.nameIn(subgraph, object.typeName) === typeName || supergraph.isSubType(object.typeName, typeName));
    if (isOne) return { object, sent: representation, provided: [] };
    faults.push(`The subgraph "${subgraph}" is asked for an entity that is none: ${JSON.stringify(representation)}`);
    return null;
  }

  function resolve(source: Sourced, args: Json, _context: unknown, info: GraphQLResolveInfo): unknown {
    const { fieldName, parentType, path } = info;
    // Representations are objects, as fetches make them.
    if (fieldName === "_entities") return (args["representations"] as Json[]).map(entityOf);
    const { object, sent, provided } = source;
    if (object.typeName === schema.getMutationType()?.name) mutations.push(String(path.key));
    const field = types.field(subgraph, parentType.name, fieldName);
    const name = `${parentType.name}.${fieldName}`;
    const known = [...provided, ...types.keys(subgraph, parentType.name).map(({ selectionSet }) => selectionSet)];
    const below = known.flatMap((selectionSet) => providedBelow(selectionSet, object.typeName, fieldName, supergraph));
    if (field?.isExternal && below.length === 0 && !(sent && fieldName in sent))
      faults.push(`The subgraph "${subgraph}" is asked for ${name}, which is not its own.`);
    if (field?.isOverridden && below.length === 0)
      faults.push(`The subgraph "${subgraph}" is asked for ${name}, which another has taken over.`);
    if (field?.requires && !covers(graph.select(object, field.requires, subgraph), sent ?? {}))
      faults.push(
        `The subgraph "${subgraph}" is asked for ${name} without what that requires: ${JSON.stringify(sent)}`,
      );
    const inner = field?.provides ? [...below, field.provides] : below;
    const sourced = (value: unknown): unknown => {
      if (Array.isArray(value)) return value.map(sourced);
      if (typeof value !== "object" || value === null) return value;
      // The graph's objects.
      return { object: value as MadeUpObject, sent: null, provided: inner } satisfies Sourced;
    };
    return sourced(graph.value(object, fieldName, args, subgraph));
  }

  async function perform(request: SubgraphRequest): Promise<ExecutionResult> {
    const document = parse(request.query, { noLocation: true });
    const rootType = own.getRootType(getOperationAST(document)?.operation ?? ("query" as never));
    return execute({
      schema: own,
      document,
      variableValues: variablesOf(request),
      rootValue: { object: graph.root(rootType?.name ?? "Query"), sent: null, provided: [] } satisfies Sourced,
      fieldResolver: resolve,
      typeResolver: ({ object }: Sourced) => types.nameIn(subgraph, object.typeName),
    });
  }

  return {
    name: subgraph,
    async execute(request) {
      // As it would come over HTTP; with errors' extensions, which nothing reads here.
      return JSON.parse(JSON.stringify(await perform(request)));
    },
    async *subscribe() {},
    close: () => Promise.resolve(),
  };
}

/** A field of objects of one type, and the required types of the objects on the way to it. */
interface Aim {
  field: FieldNode;
  typeName: string;
  wishes: ReadonlyMap<string, ReadonlySet<string>>;
}

/** Each field of an operation with each type that it may be answered for; once each, as it is asked for the next one. */
function* aimsOf(operation: OperationDefinitionNode, schema: GraphQLSchema): Generator<Aim, void, undefined> {
  function possible(type: GraphQLNamedType | null | undefined): string[] {
    if (isAbstractType(type)) return schema.getPossibleTypes(type).map(({ name }) => name);
    return isObjectType(type) ? [type.name] : [];
  }

  function* below(
    { selections }: SelectionSetNode,
    objectTypes: readonly string[],
    way: string,
    wishes: Aim["wishes"],
  ): Generator<Aim, void, undefined> {
    for (const selection of selections) {
      if (selection.kind === Kind.FRAGMENT_SPREAD) continue;
      if (selection.kind === Kind.INLINE_FRAGMENT) {
        const { typeCondition, selectionSet } = selection;
        const within = typeCondition ? possible(schema.getType(typeCondition.name.value)) : objectTypes;
        yield* below(
          selectionSet,
          objectTypes.filter((name) => within.includes(name)),
          way,
          wishes,
        );
        continue;
      }
      const name = selection.name.value;
      if (name.startsWith("__")) continue;
      const wish = (names: readonly string[]) => new Map(wishes).set(way, new Set(names));
      for (const typeName of objectTypes) yield { field: selection, typeName, wishes: wish([typeName]) };
      const [type] = objectTypes.map((typeName) => schema.getType(typeName)).filter(isObjectType);
      const field = type?.getFields()[name];
      if (!field || !selection.selectionSet) continue;
      yield* below(selection.selectionSet, possible(getNamedType(field.type)), `${way}.${name}`, wish(objectTypes));
    }
  }

  yield* below(operation.selectionSet, possible(schema.getRootType(operation.operation)), "", new Map());
}

function nextUnseen(aims: Iterator<Aim>, seen: Run["seen"]): Aim | undefined {
  for (let next = aims.next(); !next.done; next = aims.next())
    if (!seen.get(next.value.field)?.has(next.value.typeName)) return next.value;
  return undefined;
}

function typesNamedIn(document: DocumentNode): Set<string> {
  const found = new Set<string>();
  const search = ({ selections }: SelectionSetNode): void => {
    for (const selection of selections) {
      if (selection.kind === Kind.INLINE_FRAGMENT && selection.typeCondition)
        found.add(selection.typeCondition.name.value);
      if (selection.kind !== Kind.FRAGMENT_SPREAD && selection.selectionSet) search(selection.selectionSet);
    }
  };
  for (const definition of document.definitions) if ("selectionSet" in definition) search(definition.selectionSet);
  return found;
}

/** Values for an operation's variables, each another; in every second run those are left out that may be. */
function madeUpVariables(
  operation: OperationDefinitionNode,
  schema: GraphQLSchema,
  conditions: Readonly<Record<string, boolean>>,
  number: number,
): Json {
  let count = 0;
  const valueOf = (type: GraphQLInputType, depth: number): unknown => {
    if (isNonNullType(type)) return valueOf(type.ofType, depth);
    // An input may hold others of its type in a list.
    if (isListType(type)) return depth > 2 ? [] : [valueOf(type.ofType, depth)];
    if (isEnumType(type)) return type.getValues()[0]?.name;
    if (isInputObjectType(type)) {
      const fields = Object.values(type.getFields());
      const given = type.isOneOf
        ? fields.slice(0, 1)
        : fields.filter((field) => depth < 1 || isNonNullType(field.type));
      return Object.fromEntries(given.map((field) => [field.name, valueOf(field.type, depth + 1)]));
    }
    count++;
    if (type.name === "Boolean") return count % 2 === 0;
    if (type.name === "Int") return 1_000 + count;
    return type.name === "Float" ? 1_000.25 + count : `variable-${count}`;
  };
  const values: Json = {};
  for (const { variable, type: node, defaultValue } of operation.variableDefinitions ?? []) {
    const name = variable.name.value;
    const type = typeFromAST(schema, node as never) as GraphQLInputType | undefined;
    const isOptional = node.kind !== Kind.NON_NULL_TYPE || defaultValue !== undefined;
    if (name in conditions) values[name] = conditions[name];
    else if (type && !(number % 2 === 1 && isOptional)) values[name] = valueOf(type, 0);
  }
  return values;
}
