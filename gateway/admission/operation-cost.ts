import {
  Kind,
  getNamedType,
  isCompositeType,
  isInputObjectType,
  isLeafType,
  isListType,
  isNonNullType,
  valueFromASTUntyped,
  type ConstDirectiveNode,
  type DocumentNode,
  type FieldDefinitionNode,
  type FieldNode,
  type GraphQLField,
  type GraphQLInputType,
  type GraphQLOutputType,
  type ValueNode,
} from "graphql";

/**
 * The supergraph's declarations of cost: `@cost` and `@listSize` (https://specs.apollo.dev/cost/v0.1, after IBM's cost directive
 * specification), under whatever names it imports them.
 */
export interface CostModel {
  /** The weight of a field, by `Type.field`. */
  fields: ReadonlyMap<string, FieldCost>;
  /** The weight of a field of an input object, by `Type.field`. */
  inputFields: ReadonlyMap<string, number>;
  /** The weight of one object, input object, enum or scalar of a type. */
  types: ReadonlyMap<string, number>;
}

interface FieldCost {
  weight: number | null;
  /** Weights of the arguments that have one. */
  argumentWeights: ReadonlyMap<string, number>;
  listSize: ListSize | null;
}

export interface ListSize {
  assumedSize: number | null;
  /** Names of arguments, or paths into them (`page.first`). */
  slicingArguments: readonly string[];
  /** The fields of the answer that hold the list, where the field itself does not return it. */
  sizedFields: readonly string[];
  /** Whether exactly one of the slicing arguments has to have a value. */
  requireOneSlicingArgument: boolean;
}

/** Arguments that give a list's length, where there is no `@listSize`. */
const SLICING_ARGUMENTS = ["first", "last", "limit", "pageSize", "take"];
/** Where a page keeps its list, where there is no `@listSize`. */
const SIZED_FIELDS = ["edges", "nodes", "items"];

export function parseCostModel(supergraph: DocumentNode): CostModel {
  const names = directiveNames(supergraph);
  const fields = new Map<string, FieldCost>();
  const inputFields = new Map<string, number>();
  const types = new Map<string, number>();
  const find = (directives: readonly ConstDirectiveNode[] | undefined, name: string) =>
    directives?.find((directive) => directive.name.value === name);
  const weightOf = (directives: readonly ConstDirectiveNode[] | undefined): number | null => {
    const directive = find(directives, names.cost);
    const value = directive && argument(directive, "weight");
    const weight = value?.kind === Kind.STRING || value?.kind === Kind.INT ? Number(value.value) : Number.NaN;
    return Number.isFinite(weight) ? weight : null;
  };
  const readField = (typeName: string, field: FieldDefinitionNode) => {
    const weight = weightOf(field.directives);
    const directive = find(field.directives, names.listSize);
    const argumentWeights = new Map<string, number>();
    for (const { name, directives } of field.arguments ?? []) {
      const argumentWeight = weightOf(directives);
      if (argumentWeight !== null) argumentWeights.set(name.value, argumentWeight);
    }
    if (weight === null && !directive && argumentWeights.size === 0) return;
    const assumed = directive && argument(directive, "assumedSize");
    const requireOne = directive && argument(directive, "requireOneSlicingArgument");
    fields.set(`${typeName}.${field.name.value}`, {
      weight,
      argumentWeights,
      listSize: directive
        ? {
            assumedSize: assumed?.kind === Kind.INT ? Number(assumed.value) : null,
            slicingArguments: strings(directive, "slicingArguments"),
            sizedFields: strings(directive, "sizedFields"),
            requireOneSlicingArgument: requireOne?.kind !== Kind.BOOLEAN || requireOne.value,
          }
        : null,
    });
  };
  for (const definition of supergraph.definitions) {
    if (definition.kind === Kind.OBJECT_TYPE_DEFINITION || definition.kind === Kind.INTERFACE_TYPE_DEFINITION) {
      for (const field of definition.fields ?? []) readField(definition.name.value, field);
    } else if (definition.kind === Kind.INPUT_OBJECT_TYPE_DEFINITION) {
      for (const { name, directives } of definition.fields ?? []) {
        const weight = weightOf(directives);
        if (weight !== null) inputFields.set(`${definition.name.value}.${name.value}`, weight);
      }
    } else if (definition.kind !== Kind.ENUM_TYPE_DEFINITION && definition.kind !== Kind.SCALAR_TYPE_DEFINITION)
      continue;
    const weight = weightOf(definition.directives);
    if (weight !== null) types.set(definition.name.value, weight);
  }
  return { fields, inputFields, types };
}

/** The names by which the supergraph links the two directives. */
function directiveNames(supergraph: DocumentNode): { cost: string; listSize: string } {
  const found = { cost: "cost", listSize: "listSize" };
  for (const definition of supergraph.definitions) {
    if (definition.kind !== Kind.SCHEMA_DEFINITION && definition.kind !== Kind.SCHEMA_EXTENSION) continue;
    for (const directive of definition.directives ?? []) {
      const url = argument(directive, "url");
      if (directive.name.value !== "link" || url?.kind !== Kind.STRING) continue;
      if (!/\/cost\/v[\d.]+$/.test(url.value)) continue;
      const as = argument(directive, "as");
      const prefix = as?.kind === Kind.STRING ? as.value : "cost";
      // A directive that is not imported has the specification's prefix, except the one named like its specification.
      found.cost = prefix;
      found.listSize = `${prefix}__listSize`;
      const imports = argument(directive, "import");
      for (const entry of imports?.kind === Kind.LIST ? imports.values : []) {
        const fields = entry.kind === Kind.OBJECT ? entry.fields : [];
        const text = (name: string) => {
          const value = fields.find((field) => field.name.value === name)?.value;
          return value?.kind === Kind.STRING ? value.value : undefined;
        };
        const name = entry.kind === Kind.STRING ? entry.value : text("name");
        const local = entry.kind === Kind.STRING ? entry.value : (text("as") ?? name);
        if (name === "@cost" && local) found.cost = local.slice(1);
        if (name === "@listSize" && local) found.listSize = local.slice(1);
      }
    }
  }
  return found;
}

function argument(directive: ConstDirectiveNode, name: string) {
  return directive.arguments?.find((candidate) => candidate.name.value === name)?.value;
}

function strings(directive: ConstDirectiveNode, name: string): string[] {
  const value = argument(directive, name);
  return value?.kind === Kind.LIST
    ? value.values.flatMap((item) => (item.kind === Kind.STRING ? [item.value] : []))
    : [];
}

/** The inputs of a cost: the operation's variables, with its own defaults applied. */
export interface CostScope {
  variables: Readonly<Record<string, unknown>>;
  /** Costs of variables, by name and place of use: one large value may be used thousands of times. */
  known: Map<string, number>;
}

/** A number, or a function of the variables. */
export type Amount = number | ((scope: CostScope) => number);

/** The cost of a selection: `own`, parts that depend on variables, and parts that come several times. */
export interface Cost {
  own: number;
  more: readonly ((scope: CostScope) => number)[];
  times: readonly { size: Amount; cost: Cost }[];
}

/** A cost that is being added up. */
export interface CostSum {
  own: number;
  more: ((scope: CostScope) => number)[];
  times: { size: Amount; cost: Cost }[];
}

export interface FieldSizes {
  /** How many of the field's objects come; 1 where it is no list. */
  size: Amount;
  /** For fields below that hold the list that this field's arguments bound. */
  sizeBelow: { fields: readonly string[]; size: Amount } | null;
  /** How many slicing arguments have a value, where exactly one must. */
  slicing: Amount;
}

/** A list's length, by its arguments, `@listSize` or the default. */
export function sizesOf(options: {
  field: FieldNode;
  definition: GraphQLField<unknown, unknown>;
  listSize: ListSize | null;
  /** Set by the `sizedFields` of the field above. */
  sizeFromAbove: Amount | null;
  defaultListSize: number;
}): FieldSizes {
  const { field, definition, listSize, sizeFromAbove, defaultListSize } = options;
  const isList = isListOutput(definition.type);
  const isComposite = isCompositeType(getNamedType(definition.type));
  const paths = listSize?.slicingArguments.length ? listSize.slicingArguments : SLICING_ARGUMENTS;
  const candidates = paths.flatMap((path) => {
    const [name = "", ...within] = path.split(".");
    const declared = definition.args.find((candidate) => candidate.name === name);
    if (!declared) return [];
    const given = field.arguments?.find((candidate) => candidate.name.value === name)?.value;
    return [{ declared, given, within }];
  });
  /** The values that give a size. */
  const given = (scope: CostScope): number[] =>
    candidates.flatMap(({ declared, given, within }) => {
      const { variables } = scope;
      const value = given && argumentValue(given, variables);
      // Null counts as nothing: a page then has its default length.
      const size = sizeIn(value ?? declared.defaultValue, within);
      return size === null ? [] : [size];
    });
  const settled = <Value>(work: (scope: CostScope) => Value): Value | ((scope: CostScope) => Value) =>
    candidates.some(({ given }) => given && hasVariable(given)) ? work : work(NO_SCOPE);
  const largestOr = (otherwise: Amount): Amount => {
    const work = (scope: CostScope) => {
      const sizes = given(scope);
      return sizes.length > 0 ? Math.max(...sizes) : amountOf(otherwise, scope);
    };
    // The size from above may depend on variables as well.
    return typeof otherwise === "number" ? settled(work) : work;
  };
  const slicing: Amount =
    listSize?.slicingArguments.length && listSize.requireOneSlicingArgument
      ? settled((scope) => given(scope).length)
      : 1;
  if (isList) {
    const size = largestOr(sizeFromAbove ?? listSize?.assumedSize ?? defaultListSize);
    return { size, sizeBelow: null, slicing };
  }
  if (!isComposite) return { size: 1, sizeBelow: null, slicing };
  const below = listSize?.sizedFields.length ? listSize.sizedFields : SIZED_FIELDS;
  const isSized = candidates.length > 0 || listSize?.assumedSize != null;
  const size = isSized ? largestOr(listSize?.assumedSize ?? defaultListSize) : null;
  return { size: 1, sizeBelow: size === null ? null : { fields: below, size }, slicing };
}

const NO_SCOPE: CostScope = { variables: {}, known: new Map() };

function isListOutput(type: GraphQLOutputType): boolean {
  return isListType(isNonNullType(type) ? type.ofType : type);
}

function hasVariable(node: ValueNode): boolean {
  if (node.kind === Kind.VARIABLE) return true;
  if (node.kind === Kind.LIST) return node.values.some(hasVariable);
  return node.kind === Kind.OBJECT && node.fields.some(({ value }) => hasVariable(value));
}

/** A value with its variables filled in; undefined for a variable that was left out. */
function argumentValue(node: ValueNode, variables: CostScope["variables"]): unknown {
  return node.kind === Kind.VARIABLE ? variableValue(node.name.value, variables) : valueFromASTUntyped(node, variables);
}

function variableValue(name: string, variables: CostScope["variables"]): unknown {
  return Object.hasOwn(variables, name) ? variables[name] : undefined;
}

/** @returns null when the value gives no size */
function sizeIn(value: unknown, path: readonly string[]): number | null {
  let found = value;
  for (const name of path)
    found = typeof found === "object" && found !== null ? (found as Record<string, unknown>)[name] : undefined;
  // Scalars for larger numbers are often written as text.
  if (typeof found === "string" && /^\d{1,15}$/.test(found)) return Number(found);
  if (typeof found === "number") return Math.max(0, Math.ceil(found));
  // By its keys: one object for each.
  return Array.isArray(found) ? found.length : null;
}

/**
 * The cost of an argument's value: its `@cost`, and for input objects 1 unless they declare another, with the fields that are given
 * or have a default. For lists, the sum of all members.
 *
 * @param weight The argument's own
 */
export function argumentCost(options: {
  given: ValueNode | undefined;
  type: GraphQLInputType;
  defaultValue: unknown;
  weight: number | null;
  costs: CostModel;
}): Amount {
  const { given, type, defaultValue, weight, costs } = options;
  if (weight === null && isLeafType(getNamedType(type)) && !costs.types.has(getNamedType(type).name)) return 0;
  const scoreOf = (value: unknown) => inputCost({ value, type, weight, costs });
  if (given === undefined) return scoreOf(defaultValue);
  if (given.kind === Kind.VARIABLE) {
    const { value: name } = given.name;
    const key = `${name} ${String(type)} ${weight ?? ""}`;
    return ({ variables, known }) => {
      const value = variableValue(name, variables);
      if (value === undefined) return scoreOf(defaultValue);
      const before = known.get(key);
      if (before !== undefined) return before;
      const score = scoreOf(value);
      known.set(key, score);
      return score;
    };
  }
  if (!hasVariable(given)) return scoreOf(valueFromASTUntyped(given));
  if (isNonNullType(type)) return argumentCost({ ...options, type: type.ofType });
  if (isListType(type)) {
    const items = given.kind === Kind.LIST ? given.values : [given];
    const parts = items.map((item) => argumentCost({ ...options, given: item, type: type.ofType, defaultValue: null }));
    return (scope) => parts.reduce((total: number, part) => total + amountOf(part, scope), 0);
  }
  const own = weight ?? costs.types.get(type.name);
  if (!isInputObjectType(type) || given.kind !== Kind.OBJECT) return own ?? 0;
  const parts = Object.values(type.getFields()).map((field) =>
    argumentCost({
      given: given.fields.find(({ name }) => name.value === field.name)?.value,
      type: field.type,
      defaultValue: field.defaultValue,
      weight: costs.inputFields.get(`${type.name}.${field.name}`) ?? null,
      costs,
    }),
  );
  return (scope) => parts.reduce((total: number, part) => total + amountOf(part, scope), own ?? 1);
}

function inputCost(options: {
  value: unknown;
  type: GraphQLInputType;
  weight: number | null;
  costs: CostModel;
}): number {
  const { value, type, weight, costs } = options;
  if (value === null || value === undefined) return 0;
  if (isNonNullType(type)) return inputCost({ ...options, type: type.ofType });
  if (isListType(type)) {
    // A single value stands for a list of it.
    if (!Array.isArray(value)) return inputCost({ ...options, type: type.ofType });
    let total = 0;
    for (const item of value) total += inputCost({ ...options, value: item, type: type.ofType });
    return total;
  }
  const own = weight ?? costs.types.get(type.name);
  if (!isInputObjectType(type)) return own ?? 0;
  let total = own ?? 1;
  // Other values are refused when the operation runs.
  const given = typeof value === "object" ? (value as Record<string, unknown>) : {};
  for (const field of Object.values(type.getFields())) {
    const inner = given[field.name] === undefined ? field.defaultValue : given[field.name];
    const fieldWeight = costs.inputFields.get(`${type.name}.${field.name}`) ?? null;
    total += inputCost({ value: inner, type: field.type, weight: fieldWeight, costs });
  }
  return total;
}

/** @param variables As the client sent them, with the operation's own defaults */
export function evaluateCost(cost: Cost, variables: Readonly<Record<string, unknown>>): number {
  return costIn(cost, { variables, known: new Map() });
}

function costIn(cost: Cost, scope: CostScope): number {
  let total = cost.own;
  for (const more of cost.more) total += more(scope);
  for (const { size, cost: part } of cost.times) total += amountOf(size, scope) * costIn(part, scope);
  return total;
}

export function amountOf(amount: Amount, scope: CostScope): number {
  return typeof amount === "number" ? amount : amount(scope);
}

/** Adds `cost`, `size` times, to `total`. */
export function addCost(total: CostSum, size: Amount, cost: Cost): void {
  if (typeof size !== "number") {
    total.times.push({ size, cost });
    return;
  }
  total.own += size * cost.own;
  if (cost.times.length > 0 || cost.more.length > 0)
    total.times.push({ size, cost: { own: 0, more: cost.more, times: cost.times } });
}

export function addAmount(total: CostSum, amount: Amount): void {
  if (typeof amount === "number") total.own += amount;
  else total.more.push(amount);
}
