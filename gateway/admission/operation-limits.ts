import {
  Kind,
  SchemaMetaFieldDef,
  TypeMetaFieldDef,
  getIntrospectionQuery,
  getNamedType,
  isCompositeType,
  isInputObjectType,
  isInterfaceType,
  isIntrospectionType,
  isObjectType,
  parse,
  valueFromASTUntyped,
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLNamedType,
  type GraphQLSchema,
  type OperationDefinitionNode,
  type SelectionSetNode,
  type GraphQLError,
} from "graphql";
import { graphqlError } from "@toolyard/service-kit/errors/graphql-error.ts";
import {
  addAmount,
  addCost,
  amountOf,
  argumentCost,
  evaluateCost,
  sizesOf,
  type Amount,
  type Cost,
  type CostModel,
  type CostSum,
} from "./operation-cost.ts";

/** How large an operation may be. Normal operations stay far below; excessive ones are cheapest to refuse early. */
export interface OperationLimits {
  /** Depth of nested fields. GraphiQL's introspection query has 15. */
  maxDepth: number;
  /** Aliased fields, fragments written out. */
  maxAliases: number;
  /** Tokens of the document's text. */
  maxTokens: number;
  /** Directives in the document. */
  maxDirectives: number;
  /** Fields of the operation's root type. */
  maxRootFields: number;
  /** Objects that may be fetched, estimated: see `operation-cost.ts`. */
  maxCost: number;
  /** The assumed length of a list when neither its arguments nor `@listSize` give it. */
  defaultListSize: number;
}

export const defaultOperationLimits: OperationLimits = {
  maxDepth: 30,
  maxAliases: 200,
  maxTokens: 15_000,
  maxDirectives: 500,
  maxRootFields: 100,
  maxCost: 1_000_000,
  defaultListSize: 10,
};

/** The measures of an operation that depend on its text only. */
export interface MeasuredOperation {
  depth: number;
  aliases: number;
  directives: number;
  rootFields: number;
  cost: Cost;
  /** Values of variables that are left out. */
  defaults: Readonly<Record<string, unknown>>;
  /** Fields that want exactly one slicing argument, and how many there are. */
  slicing: readonly { field: string; names: readonly string[]; found: Amount }[];
}

/** Pairs of fields with one name that validation would compare one by one; far above the number in real clients' documents. */
const MAX_COMPARED_PAIRS = 200_000;
/** The executor's own limit: fields of the operation with its fragments written out. */
const MAX_FIELDS = 20_000;
/**
 * How much of the schema one operation may introspect, in multiples of tools' introspection queries. It is answered synchronously, so
 * nothing else runs meanwhile; no fetch bounds it, and `__type { fields { type { fields …` grows with every level.
 */
const MAX_WHOLE_SCHEMAS = 2;
const MIN_INTROSPECTION = 10_000;

export function limitExceeded(limit: string, max: number, found: number, what: string): GraphQLError {
  const value = Number.isFinite(found) ? String(Math.ceil(found)) : "more than that";
  return graphqlError("OPERATION_LIMIT_EXCEEDED", `${what}: ${value}, where at most ${max} may be.`, {
    extensions: { limit, max, found: Number.isFinite(found) ? Math.ceil(found) : null },
  });
}

/** Thrown inside the walk when going on would itself be too costly. */
class TooLarge extends Error {
  readonly error: GraphQLError;
  constructor(error: GraphQLError) {
    super(error.message);
    this.error = error;
  }
}

/**
 * Measures an operation by one walk over its fields, fragments written out and fields of one name merged. Needs no valid document, so
 * it comes before validation, whose own cost a bad document could drive up; elements unknown to the schema cost nothing here and are
 * refused there.
 *
 * @returns the first limit that is exceeded, else the measures. Cost is left to `costError`: it depends on variables.
 */
export function measureOperation(options: {
  document: DocumentNode;
  definition: OperationDefinitionNode;
  schema: GraphQLSchema;
  costs: CostModel;
  limits: OperationLimits;
}): MeasuredOperation | GraphQLError {
  const { document, definition, schema, costs, limits } = options;
  const fragments = new Map<string, FragmentDefinitionNode>();
  let directives = 0;
  for (const node of document.definitions) {
    if (node.kind === Kind.FRAGMENT_DEFINITION) fragments.set(node.name.value, node);
    if (node.kind !== Kind.FRAGMENT_DEFINITION && node.kind !== Kind.OPERATION_DEFINITION) continue;
    directives += countDirectives(node);
  }
  if (directives > limits.maxDirectives) {
    return limitExceeded("directives", limits.maxDirectives, directives, "The document has too many directives");
  }
  const walk = createWalk({ schema, costs, limits, fragments });
  try {
    const root = schema.getRootType(definition.operation) ?? null;
    const selections = [{ selectionSet: definition.selectionSet, type: root }];
    const { cost, fields } = walk.selection(selections, 1, null);
    if (fields > limits.maxRootFields) {
      return limitExceeded("rootFields", limits.maxRootFields, fields, "The operation has too many root fields");
    }
    const mostIntrospection = walk.introspected() === 0 ? 0 : introspectionAllowance(schema);
    if (walk.introspected() > mostIntrospection) {
      const what = "The operation asks for too much of the schema at once";
      return limitExceeded("introspection", mostIntrospection, walk.introspected(), what);
    }
    return {
      depth: walk.depth(),
      aliases: walk.aliases(),
      directives,
      rootFields: fields,
      cost,
      defaults: defaultsOf(definition),
      slicing: walk.slicing,
    };
  } catch (error) {
    if (error instanceof TooLarge) return error.error;
    throw error;
  }
}

/**
 * Measures the fragments that no operation of the document reaches: they are never run, but validation walks them as well.
 *
 * @returns the first limit that is exceeded
 */
export function measureUnused(options: {
  document: DocumentNode;
  schema: GraphQLSchema;
  costs: CostModel;
  limits: OperationLimits;
}): GraphQLError | null {
  const { document, schema } = options;
  const fragments = new Map<string, FragmentDefinitionNode>();
  const open: SelectionSetNode[] = [];
  for (const node of document.definitions) {
    if (node.kind === Kind.FRAGMENT_DEFINITION) fragments.set(node.name.value, node);
    else if (node.kind === Kind.OPERATION_DEFINITION) open.push(node.selectionSet);
  }
  if (fragments.size === 0) return null;
  const unused = new Map(fragments);
  for (let set = open.pop(); set; set = open.pop()) {
    for (const selection of set.selections) {
      if (selection.kind === Kind.FRAGMENT_SPREAD) {
        const fragment = unused.get(selection.name.value);
        if (fragment && unused.delete(selection.name.value)) open.push(fragment.selectionSet);
      } else if (selection.selectionSet) open.push(selection.selectionSet);
    }
  }
  if (unused.size === 0) return null;
  const walk = createWalk({ ...options, fragments });
  try {
    for (const { selectionSet, typeCondition } of unused.values())
      walk.selection([{ selectionSet, type: schema.getType(typeCondition.name.value) ?? null }], 1, null);
    return null;
  } catch (error) {
    if (error instanceof TooLarge) return error.error;
    throw error;
  }
}

function defaultsOf({ variableDefinitions = [] }: OperationDefinitionNode): Record<string, unknown> {
  return Object.fromEntries(
    variableDefinitions.flatMap(({ variable, defaultValue }) =>
      defaultValue ? [[variable.name.value, valueFromASTUntyped(defaultValue)]] : [],
    ),
  );
}

/** @returns null when the operation with these variables costs no more than is allowed, and its lists say how long they may get */
export function costError(
  { cost, defaults, slicing }: Pick<MeasuredOperation, "cost" | "defaults" | "slicing">,
  given: Readonly<Record<string, unknown>>,
  limits: Pick<OperationLimits, "maxCost">,
): GraphQLError | null {
  const variables = { ...defaults, ...given };
  const scope = { variables, known: new Map<string, number>() };
  for (const { field, names, found } of slicing) {
    const count = amountOf(found, scope);
    if (count !== 1) {
      const message = `The field ${field} takes exactly one of the arguments ${names.join(", ")} (@listSize), and has ${count} of them.`;
      return graphqlError("GRAPHQL_VALIDATION_FAILED", message);
    }
  }
  const found = evaluateCost(cost, variables);
  if (found <= limits.maxCost) return null;
  return limitExceeded(
    "cost",
    limits.maxCost,
    found,
    "The operation could fetch too much; ask for less, or for shorter lists (first, limit). Its estimated cost",
  );
}

const allowances = new WeakMap<GraphQLSchema, number>();

function introspectionAllowance(schema: GraphQLSchema): number {
  const known = allowances.get(schema);
  if (known !== undefined) return known;
  const document = parse(getIntrospectionQuery({ inputValueDeprecation: true, schemaDescription: true, oneOf: true }));
  const fragments = new Map<string, FragmentDefinitionNode>();
  for (const node of document.definitions)
    if (node.kind === Kind.FRAGMENT_DEFINITION) fragments.set(node.name.value, node);
  const limits = { ...defaultOperationLimits, maxDepth: Infinity, maxAliases: Infinity };
  const walk = createWalk({
    schema,
    costs: { fields: new Map(), inputFields: new Map(), types: new Map() },
    limits,
    fragments,
  });
  for (const node of document.definitions)
    if (node.kind === Kind.OPERATION_DEFINITION)
      walk.selection([{ selectionSet: node.selectionSet, type: schema.getQueryType() ?? null }], 1, null);
  const allowance = Math.ceil(Math.max(MAX_WHOLE_SCHEMAS * walk.introspected(), MIN_INTROSPECTION));
  allowances.set(schema, allowance);
  return allowance;
}

const introspectionSizes = new WeakMap<GraphQLSchema, ReadonlyMap<string, number>>();

/** The lengths of introspection's lists in this schema, on average where each type has its own. */
function introspectionSizesOf(schema: GraphQLSchema): ReadonlyMap<string, number> {
  const known = introspectionSizes.get(schema);
  if (known) return known;
  const types = Object.values(schema.getTypeMap());
  const fieldCounts = types.flatMap((type) =>
    isObjectType(type) || isInterfaceType(type) ? [Object.keys(type.getFields()).length] : [],
  );
  const inputCounts = types.flatMap((type) => (isInputObjectType(type) ? [Object.keys(type.getFields()).length] : []));
  const mean = (counts: readonly number[]) =>
    Math.max(1, counts.reduce((sum, count) => sum + count, 0) / Math.max(1, counts.length));
  const sizes = new Map([
    ["__Schema.types", types.length],
    ["__Schema.directives", schema.getDirectives().length],
    ["__Type.fields", mean(fieldCounts)],
    ["__Type.inputFields", mean(inputCounts)],
  ]);
  introspectionSizes.set(schema, sizes);
  return sizes;
}

interface Typed {
  selectionSet: SelectionSetNode;
  type: GraphQLNamedType | null;
}

interface Group {
  field: FieldNode;
  parent: GraphQLNamedType | null;
  count: number;
  below: Typed[];
}

function createWalk(options: {
  schema: GraphQLSchema;
  costs: CostModel;
  limits: OperationLimits;
  fragments: ReadonlyMap<string, FragmentDefinitionNode>;
}) {
  const { schema, costs, limits, fragments } = options;
  let deepest = 0;
  let aliases = 0;
  let visited = 0;
  let pairs = 0;
  let introspected = 0;
  const slicing: { field: string; names: readonly string[]; found: Amount }[] = [];

  function collect({ selectionSet, type }: Typed, groups: Map<string, Group>, open: readonly string[]): void {
    for (const selection of selectionSet.selections) {
      // Spreads count, too: fragments that only spread one another could make an endless walk of a short text.
      if (++visited > MAX_FIELDS)
        throw new TooLarge(limitExceeded("fields", MAX_FIELDS, Infinity, "The operation selects too many fields"));
      if (selection.kind === Kind.FIELD) {
        const { alias, name } = selection;
        if (alias && alias.value !== name.value && ++aliases > limits.maxAliases)
          throw new TooLarge(
            limitExceeded("aliases", limits.maxAliases, aliases, "The operation has too many aliases"),
          );
        const key = alias?.value ?? name.value;
        const group = groups.get(key);
        if (group) {
          pairs += group.count++;
          if (pairs > MAX_COMPARED_PAIRS)
            throw new TooLarge(
              limitExceeded(
                "repeatedFields",
                MAX_COMPARED_PAIRS,
                Infinity,
                "The operation selects the same fields too often",
              ),
            );
        }
        const target = group ?? { field: selection, parent: type, count: 1, below: [] };
        if (!group) groups.set(key, target);
        if (selection.selectionSet) {
          const definition = fieldOf(schema, type, name.value);
          target.below.push({
            selectionSet: selection.selectionSet,
            type: definition ? getNamedType(definition.type) : null,
          });
        }
        continue;
      }
      const fragment = selection.kind === Kind.FRAGMENT_SPREAD ? fragments.get(selection.name.value) : selection;
      if (!fragment) continue;
      const name = selection.kind === Kind.FRAGMENT_SPREAD ? selection.name.value : null;
      // A fragment within itself is left to validation to refuse.
      if (name !== null && open.includes(name)) continue;
      const condition = fragment.typeCondition?.name.value;
      collect(
        {
          selectionSet: fragment.selectionSet,
          type: condition === undefined ? type : (schema.getType(condition) ?? null),
        },
        groups,
        name === null ? open : [...open, name],
      );
    }
  }

  function selection(
    sets: readonly Typed[],
    depth: number,
    sized: { fields: readonly string[]; size: Amount } | null,
  ): { cost: Cost; fields: number } {
    if (depth > limits.maxDepth)
      throw new TooLarge(limitExceeded("depth", limits.maxDepth, depth, "The operation is nested too deeply"));
    if (depth > deepest) deepest = depth;
    const groups = new Map<string, Group>();
    for (const set of sets) collect(set, groups, []);
    const total: CostSum = { own: 0, more: [], times: [] };
    for (const group of groups.values()) addField(total, group, depth, sized);
    return { cost: total, fields: groups.size };
  }

  function addField(
    total: CostSum,
    { field, parent, below }: Group,
    depth: number,
    sized: { fields: readonly string[]; size: Amount } | null,
  ): void {
    const name = field.name.value;
    const definition = fieldOf(schema, parent, name);
    if (!definition || !parent) {
      // Validation refuses an unknown field. Depth and number count all the same.
      if (below.length > 0) selection(below, depth + 1, null);
      return;
    }
    const said = costs.fields.get(`${parent.name}.${name}`);
    const type = getNamedType(definition.type);
    const weight = said?.weight ?? costs.types.get(type.name) ?? (isCompositeType(type) ? 1 : 0);
    const introspectionSize = isIntrospectionType(parent)
      ? introspectionSizesOf(schema).get(`${parent.name}.${name}`)
      : null;
    const {
      size,
      sizeBelow,
      slicing: found,
    } = sizesOf({
      field,
      definition,
      listSize: said?.listSize ?? null,
      sizeFromAbove: sized?.fields.includes(name) ? sized.size : null,
      defaultListSize: limits.defaultListSize,
    });
    if (found !== 1)
      slicing.push({ field: `${parent.name}.${name}`, names: said?.listSize?.slicingArguments ?? [], found });
    for (const { name: argument, type: argumentType, defaultValue } of definition.args) {
      const given = field.arguments?.find((candidate) => candidate.name.value === argument)?.value;
      const argumentWeight = said?.argumentWeights.get(argument) ?? null;
      addAmount(total, argumentCost({ given, type: argumentType, defaultValue, weight: argumentWeight, costs }));
    }
    const inner = below.length > 0 ? selection(below, depth + 1, sizeBelow).cost : { own: 0, more: [], times: [] };
    if (definition === SchemaMetaFieldDef || definition === TypeMetaFieldDef) {
      // It costs no fetch; nothing below takes a variable that says how long a list is.
      introspected += inner.own + 1;
      return;
    }
    addCost(total, introspectionSize ?? size, { ...inner, own: inner.own + weight });
  }

  return { selection, depth: () => deepest, aliases: () => aliases, introspected: () => introspected, slicing };
}

function fieldOf(schema: GraphQLSchema, type: GraphQLNamedType | null, name: string) {
  if (type !== null && type === schema.getQueryType()) {
    if (name === SchemaMetaFieldDef.name) return SchemaMetaFieldDef;
    if (name === TypeMetaFieldDef.name) return TypeMetaFieldDef;
  }
  return isObjectType(type) || isInterfaceType(type) ? type.getFields()[name] : undefined;
}

function countDirectives(node: OperationDefinitionNode | FragmentDefinitionNode): number {
  let count = node.directives?.length ?? 0;
  if (node.kind === Kind.OPERATION_DEFINITION) {
    for (const variable of node.variableDefinitions ?? []) count += variable.directives?.length ?? 0;
  }
  // Not by recursion: parsing has bounded the tokens, not the depth.
  const open: SelectionSetNode[] = [node.selectionSet];
  for (let set = open.pop(); set; set = open.pop()) {
    for (const selection of set.selections) {
      count += selection.directives?.length ?? 0;
      if (selection.kind !== Kind.FRAGMENT_SPREAD && selection.selectionSet) open.push(selection.selectionSet);
    }
  }
  return count;
}
