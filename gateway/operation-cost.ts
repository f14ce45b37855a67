import {
  Kind,
  getNamedType,
  isCompositeType,
  isListType,
  isNonNullType,
  type ConstDirectiveNode,
  type DocumentNode,
  type FieldDefinitionNode,
  type FieldNode,
  type GraphQLField,
  type GraphQLOutputType,
} from "graphql";

/**
 * What the supergraph says of costs: `@cost` and `@listSize` (https://specs.apollo.dev/cost/v0.1, after IBM's cost directive
 * specification), whatever names it imports them by.
 */
export interface CostModel {
  /** Of a field, by `Type.field`. */
  fields: ReadonlyMap<string, FieldCost>;
  /** Of one object, enum or scalar of a type. */
  types: ReadonlyMap<string, number>;
}

export interface FieldCost {
  weight: number | null;
  /** Weights of the arguments that have one. */
  argumentWeights: readonly (readonly [name: string, weight: number])[];
  listSize: ListSize | null;
}

export interface ListSize {
  assumedSize: number | null;
  slicingArguments: readonly string[];
  /** The fields of the answer that hold the list, where the field itself does not return it. */
  sizedFields: readonly string[];
}

/** Arguments that say how long a list may get, where no `@listSize` does. */
const SLICING_ARGUMENTS = ["first", "last", "limit", "pageSize", "take"];
/** Where a page keeps its list, where no `@listSize` says it. */
const SIZED_FIELDS = ["edges", "nodes", "items"];

export function parseCostModel(supergraph: DocumentNode): CostModel {
  const names = directiveNames(supergraph);
  const fields = new Map<string, FieldCost>();
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
    const argumentWeights = (field.arguments ?? []).flatMap(({ name, directives }) => {
      const argumentWeight = weightOf(directives);
      return argumentWeight === null ? [] : [[name.value, argumentWeight] as const];
    });
    if (weight === null && !directive && argumentWeights.length === 0) return;
    const assumed = directive && argument(directive, "assumedSize");
    fields.set(`${typeName}.${field.name.value}`, {
      weight,
      argumentWeights,
      listSize: directive
        ? {
            assumedSize: assumed?.kind === Kind.INT ? Number(assumed.value) : null,
            slicingArguments: strings(directive, "slicingArguments"),
            sizedFields: strings(directive, "sizedFields"),
          }
        : null,
    });
  };
  for (const definition of supergraph.definitions) {
    if (definition.kind === Kind.OBJECT_TYPE_DEFINITION || definition.kind === Kind.INTERFACE_TYPE_DEFINITION) {
      for (const field of definition.fields ?? []) readField(definition.name.value, field);
    } else if (definition.kind !== Kind.ENUM_TYPE_DEFINITION && definition.kind !== Kind.SCALAR_TYPE_DEFINITION)
      continue;
    const weight = weightOf(definition.directives);
    if (weight !== null) types.set(definition.name.value, weight);
  }
  return { fields, types };
}

/** By what names the supergraph links the two directives. */
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
      // Not imported, a directive goes by the specification's prefix; the one named as its specification goes without.
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

/** How many objects a list is taken to have: a number, or a variable's value with what it is when that is not given. */
export type Size = number | { variable: string; otherwise: number };

/** The cost of a selection: `own`, and parts that come as often as a variable says. */
export interface Cost {
  own: number;
  times: readonly { size: Size; cost: Cost }[];
}

export interface FieldSizes {
  /** How often the field's objects come; 1 where it is no list. */
  size: Size;
  /** For fields below that hold the list this field's arguments are about. */
  sizeBelow: { fields: readonly string[]; size: Size } | null;
}

/** Where a list is as long as its arguments, `@listSize`, or the default say. */
export function sizesOf(options: {
  field: FieldNode;
  definition: GraphQLField<unknown, unknown>;
  listSize: ListSize | null;
  /** Said by the field above for its `sizedFields`. */
  sizeFromAbove: Size | null;
  defaultListSize: number;
}): FieldSizes {
  const { field, definition, listSize, sizeFromAbove, defaultListSize } = options;
  const isList = isListOutput(definition.type);
  const assumed = listSize?.assumedSize ?? defaultListSize;
  const candidates = listSize?.slicingArguments.length ? listSize.slicingArguments : SLICING_ARGUMENTS;
  const sizes = candidates.flatMap((name): Size[] => {
    const declared = definition.args.find((candidate) => candidate.name === name);
    if (!declared) return [];
    const given = field.arguments?.find((candidate) => candidate.name.value === name)?.value;
    const otherwise = typeof declared.defaultValue === "number" ? declared.defaultValue : assumed;
    if (given?.kind === Kind.INT) return [Math.max(0, Number(given.value))];
    if (given?.kind === Kind.VARIABLE) return [{ variable: given.name.value, otherwise }];
    return given === undefined && typeof declared.defaultValue === "number" ? [Math.max(0, declared.defaultValue)] : [];
  });
  const sliced: Size | null = sizes[0] ?? null;
  if (isList) return { size: sliced ?? sizeFromAbove ?? assumed, sizeBelow: null };
  if (!isCompositeType(getNamedType(definition.type))) return { size: 1, sizeBelow: null };
  const below = listSize?.sizedFields.length ? listSize.sizedFields : SIZED_FIELDS;
  const size = sliced ?? listSize?.assumedSize ?? null;
  return { size: 1, sizeBelow: size === null ? null : { fields: below, size } };
}

function isListOutput(type: GraphQLOutputType): boolean {
  return isListType(isNonNullType(type) ? type.ofType : type);
}

/** @param variables As the client sent them; what is no whole number counts as left out. */
export function evaluateCost(cost: Cost, variables: Readonly<Record<string, unknown>>): number {
  let total = cost.own;
  for (const { size, cost: part } of cost.times) {
    const given = typeof size === "number" ? size : variables[size.variable];
    const otherwise = typeof size === "number" ? size : size.otherwise;
    total += (Number.isInteger(given) ? Math.max(0, Number(given)) : otherwise) * evaluateCost(part, variables);
  }
  return total;
}

/** Adds `cost`, `size` times, to what is summed up in `total`. */
export function addCost(total: { own: number; times: { size: Size; cost: Cost }[] }, size: Size, cost: Cost): void {
  if (typeof size !== "number") {
    total.times.push({ size, cost });
    return;
  }
  total.own += size * cost.own;
  if (cost.times.length > 0) total.times.push({ size, cost: { own: 0, times: cost.times } });
}
