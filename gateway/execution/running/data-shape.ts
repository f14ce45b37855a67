import { Kind, type DocumentNode, type FragmentDefinitionNode, type SelectionSetNode } from "graphql";
import { isObject } from "@toolyard/service-kit/json.ts";
import type { Rewrite } from "../planning/query-plan.ts";
import type { Supergraph } from "../schema/supergraph.ts";

type Json = Record<string, unknown>;

/**
 * The keys that a fetch's answer may have, with the shape of the value under each: null for a leaf. Merging follows it, so a leaf that
 * happens to be an object (a JSON scalar) is taken whole, and data that nobody asked for is dropped.
 */
export interface DataShape {
  readonly keys: readonly string[];
  readonly children: readonly (DataShape | null)[];
}

/** The shape of an operation's root. */
export function shapeOfOperation(document: DocumentNode): DataShape {
  const fragments = new Map<string, FragmentDefinitionNode>();
  for (const definition of document.definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments.set(definition.name.value, definition);
  }
  const operation = document.definitions.find((definition) => definition.kind === Kind.OPERATION_DEFINITION);
  if (!operation) throw new Error("A fetch of the plan has no operation.");
  return shapeOf([operation.selectionSet], fragments);
}

function shapeOf(
  selectionSets: readonly SelectionSetNode[],
  fragments: ReadonlyMap<string, FragmentDefinitionNode>,
): DataShape {
  const inner = new Map<string, SelectionSetNode[]>();
  const collect = (selectionSet: SelectionSetNode) => {
    for (const selection of selectionSet.selections) {
      if (selection.kind === Kind.FIELD) {
        const key = selection.alias?.value ?? selection.name.value;
        const known = inner.get(key) ?? [];
        if (selection.selectionSet) known.push(selection.selectionSet);
        inner.set(key, known);
        continue;
      }
      const fragment = selection.kind === Kind.FRAGMENT_SPREAD ? fragments.get(selection.name.value) : selection;
      if (fragment) collect(fragment.selectionSet);
    }
  };
  selectionSets.forEach(collect);
  return {
    keys: [...inner.keys()],
    children: [...inner.values()].map((sets) => (sets.length > 0 ? shapeOf(sets, fragments) : null)),
  };
}

/** The shape under a key of the root; of a leaf when there is none. */
export function childShape(shape: DataShape, key: string): DataShape {
  return shape.children[shape.keys.indexOf(key)] ?? { keys: [], children: [] };
}

/** Whether a path of an answer is one that was asked for; numbers stand for the items of lists. */
export function hasPath(shape: DataShape, path: readonly (string | number)[]): boolean {
  let current: DataShape | null = shape;
  for (const key of path) {
    if (typeof key === "number") continue;
    const index: number = current ? current.keys.indexOf(key) : -1;
    if (index < 0) return false;
    current = current?.children[index] ?? null;
  }
  return true;
}

/** The shape after `rewrites` renamed keys in the data. */
export function renamedShape(shape: DataShape, rewrites: readonly Rewrite[]): DataShape {
  return rewrites.reduce((current, rewrite) => {
    if (rewrite.kind !== "RenameKey") return current;
    const keys = rewrite.path.flatMap((segment) => (segment.kind === "Key" ? [segment.key] : []));
    return withKey(current, keys, rewrite.to);
  }, shape);
}

function withKey(shape: DataShape, path: readonly string[], to: string): DataShape {
  const [first, ...rest] = path;
  const index = first === undefined ? -1 : shape.keys.indexOf(first);
  if (index < 0) return shape;
  const child = shape.children[index] ?? null;
  if (rest.length === 0) return withChild(shape, to, child);
  if (child === null) return shape;
  return { keys: shape.keys, children: shape.children.with(index, withKey(child, rest, to)) };
}

/** A shape that has the content under a key as well; several fields may be renamed to one, of objects of several types. */
function withChild(shape: DataShape, key: string, child: DataShape | null): DataShape {
  const index = shape.keys.indexOf(key);
  if (index < 0) return { keys: [...shape.keys, key], children: [...shape.children, child] };
  const own = shape.children[index];
  if (!own || !child) return shape;
  const joined = child.keys.reduce((all, inner, i) => withChild(all, inner, child.children[i] ?? null), own);
  return { keys: shape.keys, children: shape.children.with(index, joined) };
}

/** A path of an answer as it is after `rewrites` renamed keys in the data. */
export function renamedPath(
  path: readonly (string | number)[],
  rewrites: readonly Rewrite[],
): readonly (string | number)[] {
  return rewrites.reduce((current, rewrite) => {
    if (rewrite.kind !== "RenameKey") return current;
    const keys = rewrite.path.flatMap((segment) => (segment.kind === "Key" ? [segment.key] : []));
    let depth = 0;
    for (let i = 0; i < current.length; i++) {
      if (typeof current[i] === "number") continue;
      if (current[i] !== keys[depth]) return current;
      if (++depth === keys.length) return current.with(i, rewrite.to);
    }
    return current;
  }, path);
}

/**
 * Adds a fetch's answer to the data. Old and new data may overlap; the outcome does not depend on which fetch came first:
 * a null never hides a value, and the more specific type name wins.
 */
export function mergeData(target: Json, source: Json, shape: DataShape, supergraph: Supergraph): void {
  const { keys, children } = shape;
  for (let i = 0; i < keys.length; i++) {
    // The loop stays within the array.
    const key = keys[i] as string;
    const value = source[key];
    if (value === undefined) continue;
    const present = target[key];
    const child = children[i];
    // JSON has no functions: all objects inherit the one of that name.
    if (present === undefined || present === null || typeof present === "function") {
      target[key] = value;
    } else if (value !== null) {
      if (child) target[key] = mergeValues(present, value, child, supergraph);
      else if (key !== "__typename" || isMoreSpecific(value, present, supergraph)) target[key] = value;
    }
  }
}

function mergeValues(present: unknown, value: unknown, shape: DataShape, supergraph: Supergraph): unknown {
  if (Array.isArray(present) && Array.isArray(value)) {
    value.forEach((item: unknown, index) => {
      const own: unknown = present[index];
      if (own === undefined || own === null) present[index] = item;
      else if (item !== null) present[index] = mergeValues(own, item, shape, supergraph);
    });
    return present;
  }
  if (isObject(present) && isObject(value)) {
    mergeData(present, value, shape, supergraph);
    return present;
  }
  return present;
}

function isMoreSpecific(typeName: unknown, than: unknown, supergraph: Supergraph): boolean {
  return typeof typeName === "string" && typeof than === "string" && supergraph.isSubType(typeName, than);
}

/** A copy of a composite value that can be changed by itself; leaves are shared. */
export function copyByShape(value: unknown, shape: DataShape): unknown {
  if (Array.isArray(value)) return value.map((item) => copyByShape(item, shape));
  if (!isObject(value)) return value;
  const copy: Json = {};
  shape.keys.forEach((key, index) => {
    const inner = value[key];
    if (inner === undefined) return;
    const child = shape.children[index];
    copy[key] = child ? copyByShape(inner, child) : inner;
  });
  return copy;
}
