import {
  GraphQLError,
  isEnumType,
  isObjectType,
  Kind,
  getArgumentValues,
  type FieldNode,
  type GraphQLSchema,
  type SelectionSetNode,
} from "graphql";
import { isObject } from "@toolyard/service-kit/json.ts";
import type { Json } from "../running/execution.ts";
import type { SubgraphField, SubgraphTypes } from "../schema/subgraph-types.ts";
import type { Supergraph } from "../schema/supergraph.ts";

/** One object of a made-up graph. The same object gives the same values in every subgraph. */
export interface MadeUpObject {
  typeName: string;
  /** The path to it, which identifies it. */
  id: string;
  parent: MadeUpObject | null;
  /** How many lists it is in. */
  depth: number;
  /** The names of the fields that lead to it. */
  way: string;
}

export interface MadeUpGraphOptions {
  /** The whole graph's. */
  schema: GraphQLSchema;
  supergraph: Pick<Supergraph, "isSubType">;
  types: SubgraphTypes;
  schemaOf(subgraph: string): GraphQLSchema;
  keys: MadeUpKeys;
  /** Object types to prefer where there may be several. */
  preferredTypes: ReadonlySet<string>;
  /** Graphs of other numbers have other types at the same places; those of odd numbers have nulls and errors. */
  number: number;
  /** Object types of which one is wanted at the end of a path, where possible. */
  wishes: ReadonlyMap<string, ReadonlySet<string>>;
  /** How many objects a list has, at most, not counting the repeated one. */
  breadth: number;
}

/**
 * A generated graph: each value depends on the object, the field and the arguments, so that none can stand for another. Lists
 * have an object of each type that may be there, and one of them twice.
 */
export interface MadeUpGraph {
  root(typeName: string): MadeUpObject;
  /**
   * A field's value: a leaf, an object or a list of these.
   * @param subgraph the subgraph asked; null for the whole graph, of which subgraphs are asked first
   * @throws GraphQLError where the field fails
   */
  value(object: MadeUpObject, fieldName: string, args: Json, subgraph: string | null): unknown;
  /** The value of a selection of an object, by fields' names; failures are nulls. Arguments are read as `subgraph` has them. */
  select(object: MadeUpObject, selectionSet: SelectionSetNode, subgraph: string): Json;
  /** The object that a representation stands for; undefined when it stands for none. */
  find(subgraph: string, typeName: string, representation: Json): MadeUpObject | undefined;
  /** Whether some place was given objects of types that another subgraph does not have there: then nothing can be concluded. */
  readonly isAmbiguous: boolean;
}

/** Beyond so many objects lists have one item only. */
const MANY_OBJECTS = 2_000;

export function createMadeUpGraph(options: MadeUpGraphOptions): MadeUpGraph {
  const { schema, supergraph, types, schemaOf, preferredTypes, number, wishes, breadth } = options;
  const { keyFields, singletons } = options.keys;
  const places = new Map<string, unknown>();
  const numbers = new Map<string, number>();
  const byKey = new Map<string, MadeUpObject>();
  const typesAt = new Map<string, readonly string[]>();
  let objects = 0;
  let isAmbiguous = false;

  function create(typeName: string, id: string, parent: MadeUpObject | null, depth: number, way = ""): MadeUpObject {
    objects++;
    if (!singletons.has(typeName) && schema.getQueryType()?.name !== typeName)
      return { typeName, id, parent, depth, way };
    // There is one of them.
    const known = byKey.get(typeName) ?? { typeName, id: typeName, parent: null, depth, way };
    byKey.set(typeName, known);
    return known;
  }

  const homesOf = (typeName: string, fieldName: string) =>
    types.subgraphs.flatMap((subgraph) => {
      const name = types.nameIn(subgraph, typeName);
      const field = name === undefined ? undefined : types.field(subgraph, name, fieldName);
      return field ? [{ subgraph, field }] : [];
    });

  /** The types that an object may have where a subgraph has one of the type, without those that no answer may have. */
  function possibleTypes(subgraph: string, typeName: string): string[] {
    const here = types.possibleTypes(subgraph, typeName) ?? types.objectTypes(typeName);
    const untyped = types.interfaceObjects(subgraph, typeName).flatMap((name) => types.objectTypes(name));
    return [...new Set([...here, ...untyped])].filter((name) => isObjectType(schema.getType(name)));
  }

  function candidates(place: string, fields: ReturnType<typeof homesOf>, subgraph: string | null): readonly string[] {
    const known = typesAt.get(place);
    const asked = fields.find((home) => home.subgraph === subgraph);
    if (known) {
      const own = asked && possibleTypes(asked.subgraph, asked.field.namedType);
      if (own && known.some((name) => !own.includes(name))) isAmbiguous = true;
      return known;
    }
    const all = fields.filter(({ field }) => !field.isExternal);
    const shared = (all.length > 0 ? all : fields)
      .map((home) => possibleTypes(home.subgraph, home.field.namedType))
      .reduce((left, right) => left.filter((name) => right.includes(name)));
    // Some graph has objects there that only one subgraph has.
    const own = asked && (number === OWN_TYPES_RUN || shared.length === 0);
    const found = own ? possibleTypes(asked.subgraph, asked.field.namedType) : shared;
    const sorted = [...found].sort((a, b) => Number(preferredTypes.has(b)) - Number(preferredTypes.has(a)));
    typesAt.set(place, sorted);
    return sorted;
  }

  /** Nulls and errors are where every subgraph may give them and nothing is told apart by them. */
  function fateOf(hash: number, isNullable: boolean): "null" | "error" | "value" {
    if (number % 2 === 0 || !isNullable) return "value";
    return hash % 7 === 0 ? "null" : hash % 7 === 1 ? "error" : "value";
  }

  function numberOf(place: string): number {
    let known = numbers.get(place);
    if (known === undefined) numbers.set(place, (known = numbers.size + 1));
    return known;
  }

  function leaf(object: MadeUpObject, fieldName: string, namedType: string, place: string): unknown {
    const n = numberOf(place);
    const made = ((): unknown => {
      const type = schema.getType(namedType);
      if (isEnumType(type)) {
        const shared = type.getValues().filter(({ name }) => enumsHave(namedType, name));
        const values = shared.length > 0 ? shared : type.getValues();
        return values[hashOf(place) % values.length]?.name ?? null;
      }
      if (namedType === "Boolean") return hashOf(place) % 2 === 0;
      if (namedType === "Int") return n;
      return namedType === "Float" ? n + 0.5 : `${fieldName}-${n}`;
    })();
    if (keyFields.has(`${object.typeName}.${fieldName}`)) byKey.set(`${fieldName} ${JSON.stringify(made)}`, object);
    return made;
  }

  function enumsHave(typeName: string, value: string): boolean {
    return types.subgraphs.every((subgraph) => {
      const type = schemaOf(subgraph).getType(typeName);
      return !isEnumType(type) || type.getValue(value) !== undefined;
    });
  }

  function value(object: MadeUpObject, fieldName: string, args: Json, subgraph: string | null): unknown {
    const place = `${object.id}.${fieldName}(${canonical(args)})`;
    const isKey = keyFields.has(`${object.typeName}.${fieldName}`);
    const homes = homesOf(object.typeName, fieldName);
    const [first] = homes;
    if (!first) return null;
    const giving = homes.filter(({ field }) => !field.isExternal).map(({ field }) => field.type);
    const nullable = isKey ? [] : nullableLevels(giving.length > 0 ? giving : homes.map(({ field }) => field.type));
    const fate = fateOf(hashOf(`${number} ${place}`), nullable[0] ?? false);
    if (fate === "error") throw new GraphQLError(`${place} fails.`);
    if (fate === "null") return null;
    const known = places.get(place);
    const { namedType } = first.field;
    const isComposite = types.objectTypes(namedType).length > 0;
    if (known !== undefined) {
      if (isComposite) candidates(place, homes, subgraph);
      return known;
    }
    const found = isComposite ? candidates(place, homes, subgraph) : [];
    const listDepth = first.field.type.split("[").length - 1;
    const way = `${object.way}.${fieldName}`;
    const wished = found.filter((name) => wishes.get(way)?.has(name));
    const turn = wished.length > 0 ? 0 : number;
    const sorted = [...wished, ...found.filter((name) => !wished.includes(name))];
    const one = (typeName: string | undefined, key: string, depth: number) => {
      if (!isComposite) return leaf(object, fieldName, namedType, key);
      return typeName === undefined ? null : create(typeName, key, object, depth, way);
    };
    const list = (level: number, key: string): unknown => {
      const position = wished.length > 0 ? 0 : hashOf(place) + number;
      if (level > listDepth) return one(sorted[position % sorted.length], key, object.depth);
      const depth = object.depth + 1;
      const isLast = level === listDepth;
      if (!isLast) return [list(level + 1, `${key}[0]`), list(level + 1, `${key}[1]`)];
      const rotated = sorted.map((_, i) => sorted[(i + turn) % sorted.length]);
      const most = objects > MANY_OBJECTS || depth > 2 ? 1 : depth > 1 ? Math.min(3, breadth) : breadth;
      const wanted: (string | undefined)[] = isComposite ? rotated.slice(0, most) : [undefined, undefined];
      const items = wanted.map((typeName, i) => {
        const isNull = (nullable[level] ?? false) && fateOf(hashOf(`${number} ${key}[${i}]`), true) === "null";
        return isNull ? null : one(typeName, `${key}[${i}]`, depth);
      });
      return isComposite && most > 1 ? [...items, items[0]] : items;
    };
    const made = list(1, place);
    places.set(place, made);
    return made;
  }

  function select(object: MadeUpObject, selectionSet: SelectionSetNode, subgraph: string): Json {
    const result: Json = {};
    const typeName = types.nameIn(subgraph, object.typeName) ?? object.typeName;
    const inner = (found: unknown, below: SelectionSetNode): unknown => {
      if (Array.isArray(found)) return found.map((item) => inner(item, below));
      // Fields with a selection have objects.
      return found === null ? null : select(found as MadeUpObject, below, subgraph);
    };
    for (const selection of selectionSet.selections) {
      if (selection.kind === Kind.FRAGMENT_SPREAD) continue;
      if (selection.kind === Kind.INLINE_FRAGMENT) {
        const condition = selection.typeCondition?.name.value ?? object.typeName;
        if (condition === typeName || supergraph.isSubType(object.typeName, condition))
          merge(result, select(object, selection.selectionSet, subgraph));
        continue;
      }
      const name = selection.name.value;
      if (name === "__typename") continue;
      const found = orNull(() => value(object, name, argumentsOf(typeName, selection, subgraph), subgraph));
      const made = selection.selectionSet ? inner(found, selection.selectionSet) : found;
      merge(result, { [name]: made });
    }
    return result;
  }

  function argumentsOf(typeName: string, field: FieldNode, subgraph: string): Json {
    const type = schemaOf(subgraph).getType(typeName);
    const definition = type && "getFields" in type ? type.getFields()[field.name.value] : undefined;
    return definition && "args" in definition ? getArgumentValues(definition, field) : {};
  }

  function find(subgraph: string, typeName: string, representation: Json): MadeUpObject | undefined {
    for (const { selectionSet } of types.keys(subgraph, typeName)) {
      const found = findByKey(selectionSet, representation) ?? singletonOf(typeName);
      if (found && covers(select(found, selectionSet, subgraph), representation)) return found;
    }
    return undefined;
  }

  function singletonOf(typeName: string): MadeUpObject | undefined {
    return singletons.has(typeName) ? create(typeName, typeName, null, 0) : undefined;
  }

  function findByKey({ selections }: SelectionSetNode, representation: Json): MadeUpObject | undefined {
    for (const selection of selections) {
      if (selection.kind !== Kind.FIELD || selection.selectionSet) continue;
      const given = representation[selection.name.value];
      const found =
        typeof given === "boolean" ? undefined : byKey.get(`${selection.name.value} ${JSON.stringify(given)}`);
      if (found) return found;
    }
    for (const selection of selections) {
      if (selection.kind !== Kind.FIELD || !selection.selectionSet) continue;
      const given = representation[selection.name.value];
      // A representation is JSON: a value that is no list is an object, read by key only.
      const inner =
        typeof given === "object" && given !== null ? findByKey(selection.selectionSet, given as Json) : undefined;
      if (inner?.parent) return inner.parent;
    }
    return undefined;
  }

  return {
    root: (typeName) => create(typeName, typeName, null, 0),
    value,
    select,
    find,
    get isAmbiguous() {
      return isAmbiguous;
    },
  };
}

/** In this graph, places that several subgraphs have may have objects there that only the first one asked has. */
const OWN_TYPES_RUN = 2;

/** Whether all expected values are there as well. */
export function covers(expected: unknown, given: unknown): boolean {
  if (expected === null || expected === undefined) return given === null || given === undefined;
  if (typeof expected !== "object") return expected === given;
  if (typeof given !== "object" || given === null || Array.isArray(expected) !== Array.isArray(given)) return false;
  if (Array.isArray(expected))
    return (
      Array.isArray(given) && expected.length === given.length && expected.every((item, i) => covers(item, given[i]))
    );
  // Neither is a list: read by key only.
  return Object.entries(expected).every(([key, item]) => covers(item, (given as Json)[key]));
}

export interface MadeUpKeys {
  /** `Type.field` of the fields that identify entities. */
  keyFields: ReadonlySet<string>;
  /** Types of which a key that says nothing leaves one object only. */
  singletons: ReadonlySet<string>;
}

export function readMadeUpKeys(types: SubgraphTypes, schemaOf: (subgraph: string) => GraphQLSchema): MadeUpKeys {
  const keyFields = new Set<string>();
  const singletons = new Set<string>();
  const addFields = (subgraph: string, typeName: string, { selections }: SelectionSetNode): boolean => {
    let isTelling = false;
    for (const selection of selections) {
      if (selection.kind !== Kind.FIELD) continue;
      const name = selection.name.value;
      const field = types.field(subgraph, typeName, name);
      if (!field) continue;
      for (const objectType of types.objectTypes(typeName)) keyFields.add(`${objectType}.${name}`);
      if (selection.selectionSet) isTelling = addFields(subgraph, field.namedType, selection.selectionSet) || isTelling;
      else if (field.namedType !== "Boolean" && !isEnumType(schemaOf(subgraph).getType(field.namedType)))
        isTelling = true;
    }
    return isTelling;
  };
  for (const subgraph of types.subgraphs) {
    for (const typeName of Object.keys(schemaOf(subgraph).getTypeMap())) {
      for (const { selectionSet } of types.keys(subgraph, typeName)) {
        if (!addFields(subgraph, typeName, selectionSet))
          for (const objectType of types.objectTypes(typeName)) singletons.add(objectType);
      }
    }
  }
  return { keyFields, singletons };
}

/** By level of a type written out (`[Int!]!`): whether each of its writings may be null there. */
function nullableLevels(written: readonly SubgraphField["type"][]): boolean[] {
  const levelsOf = (type: string): boolean[] => {
    const isNullable = !type.endsWith("!");
    const bare = isNullable ? type : type.slice(0, -1);
    return bare.startsWith("[") ? [isNullable, ...levelsOf(bare.slice(1, -1))] : [isNullable];
  };
  const all = written.map((type) => levelsOf(type.replaceAll(/\s/g, "")));
  return (all[0] ?? []).map((_, level) => all.every((levels) => levels[level]));
}

function merge(target: Json, source: Json): void {
  for (const [key, value] of Object.entries(source)) {
    const own = target[key];
    if (Array.isArray(own) && Array.isArray(value)) own.forEach((item, i) => isObject(item) && merge(item, value[i]));
    else if (isObject(own) && isObject(value)) merge(own, value);
    else target[key] = value;
  }
}

function orNull(read: () => unknown): unknown {
  try {
    return read();
  } catch (error) {
    if (error instanceof GraphQLError) return null;
    throw error;
  }
}

/** The same text for the same arguments, in whatever order. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "";
  // Arguments are JSON.
  return Object.entries(value as Json)
    .filter(([, inner]) => inner !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, inner]) => `${key}:${canonical(inner)}`)
    .join();
}

/** FNV-1a, 32 bits (http://www.isthe.com/chongo/tech/comp/fnv/). */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}
