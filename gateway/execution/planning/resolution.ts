import {
  Kind,
  print,
  type ArgumentNode,
  type DirectiveNode,
  type FieldNode,
  type SelectionNode,
  type SelectionSetNode,
} from "graphql";
import type { PlanRequest } from "./query-planner.ts";
import { providedBelow, type SubgraphField, type SubgraphTypes } from "../schema/subgraph-types.ts";
import type { Supergraph } from "../schema/supergraph.ts";

/** An object as a subgraph has it at hand. */
export interface Held {
  subgraph: string;
  /** External fields that came with it. */
  provided: readonly SelectionSetNode[];
}

/** A field to be had of objects of one type, and the key for it in the data. */
export interface Wanted {
  key: string;
  name: string;
  args: readonly ArgumentNode[];
  directives: readonly DirectiveNode[];
  selectionSet: SelectionSetNode | null;
}

/** A subgraph that answers a field, and the field's requirements (null when there are none). */
export interface Option {
  subgraph: string;
  requires: SelectionSetNode | null;
}

interface Split {
  /** The available part; null when there is none. */
  now: SelectionSetNode | null;
  /** The unavailable part; null when there is none. */
  rest: SelectionSetNode | null;
}

export interface ResolutionOptions {
  supergraph: Pick<Supergraph, "isSubType">;
  types: SubgraphTypes;
  queryType: string;
  /** Whether answers may have objects of a type. */
  isVisible(objectType: string): boolean;
  request: Pick<PlanRequest, "overrideLabels" | "overridePercentage">;
}

/** Finds out from where fields can be had, for one request. */
export interface Resolution {
  /** The fields of a selection for objects of one type, each key once. */
  wantedOf(selectionSet: SelectionSetNode, typeName: string): Wanted[];
  /**
   * The subgraphs that can be asked for an object that some have at hand, these first, each with the key for it, which earlier
   * ones give. Roots need no key.
   */
  entries(held: readonly Held[], typeName: string): ReadonlyMap<string, SelectionSetNode | null>;
  /** The subgraphs that answer a field, best first; only those in `within`, where that is given. */
  optionsFor(held: readonly Held[], typeName: string, fieldName: string, within?: ReadonlySet<string>): Option[];
  /** The key by which a subgraph is asked for a field with requirements. */
  keyWith(
    held: readonly Held[],
    typeName: string,
    option: Option,
    within?: ReadonlySet<string>,
  ): SelectionSetNode | undefined;
  /** The part of a selection that is available from a subgraph's objects, there or further on. */
  split(held: Held, namedType: string, selectionSet: SelectionSetNode): Split;
  /** The objects below a field, as a subgraph has them. */
  below(held: readonly Held[], typeName: string, fieldName: string, subgraph: string): Held & { namedType: string };
  /** For objects known by their interface only: the fields available without knowing more, and the others. */
  splitUntyped(
    held: Held,
    typeName: string,
    selectionSet: SelectionSetNode,
  ): { untyped: Wanted[]; typed: SelectionSetNode | null };
  /** The fields that may be asked of an interface in a subgraph, as objects of every type have them, and those to ask of each type. */
  splitCommon(
    held: Held,
    typeName: string,
    selectionSet: SelectionSetNode,
  ): { common: Wanted[]; rest: SelectionSetNode };
  /** A subgraph that tells of which type such objects are. */
  typeSource(held: readonly Held[], typeName: string): string | undefined;
  objectTypesIn(subgraph: string, typeName: string): string[];
}

export function createResolution(options: ResolutionOptions): Resolution {
  const { supergraph, types, queryType, isVisible, request } = options;
  const { overrideLabels, overridePercentage } = request;
  const known = new Map<string, ReadonlyMap<string, SelectionSetNode | null>>();
  const splits = new WeakMap<SelectionSetNode, Map<string, Split>>();
  const joins = new WeakMap<SelectionSetNode, Map<SelectionSetNode, SelectionSetNode>>();
  /** Searches under way: a search does not rest on itself. */
  const underWay = new Set<string>();
  let restsOnUnknown = false;

  function wantedOf(selectionSet: SelectionSetNode, typeName: string): Wanted[] {
    const found = new Map<string, Wanted>();
    const collect = ({ selections }: SelectionSetNode): void => {
      for (const selection of selections) {
        if (selection.kind === Kind.FRAGMENT_SPREAD) continue;
        if (selection.kind === Kind.INLINE_FRAGMENT) {
          const condition = selection.typeCondition?.name.value ?? typeName;
          if (supergraph.isSubType(typeName, condition)) collect(selection.selectionSet);
          continue;
        }
        const name = selection.name.value;
        if (name === "__typename") continue;
        const key = selection.alias?.value ?? name;
        const same = found.get(key);
        if (!same) {
          const { arguments: args = [], directives = [], selectionSet: inner = null } = selection;
          found.set(key, { key, name, args, directives, selectionSet: inner });
        } else if (same.selectionSet && selection.selectionSet)
          same.selectionSet = joined(same.selectionSet, selection.selectionSet);
      }
    };
    collect(selectionSet);
    return [...found.values()];
  }

  /** The same object for the same two: findings about it are kept, however many types it is joined for. */
  function joined(left: SelectionSetNode, right: SelectionSetNode): SelectionSetNode {
    const byRight = joins.get(left) ?? new Map<SelectionSetNode, SelectionSetNode>();
    joins.set(left, byRight);
    const known = byRight.get(right) ?? selectionSetOf([...left.selections, ...right.selections]);
    byRight.set(right, known);
    return known;
  }

  function isOn(label: string): boolean {
    const percentage = /^percent\((.+)\)$/.exec(label)?.[1];
    return percentage === undefined ? overrideLabels.includes(label) : Number(percentage) > overridePercentage;
  }

  /** A field of objects of a type as a subgraph may be asked for it. */
  function activeField(subgraph: string, typeName: string, fieldName: string): SubgraphField | undefined {
    const name = types.nameIn(subgraph, typeName);
    const field = name === undefined ? undefined : types.field(subgraph, name, fieldName);
    if (!field) return undefined;
    return field.override && isOn(field.override.label) !== field.override.isNew ? undefined : field;
  }

  function isDirect({ subgraph, provided }: Held, typeName: string, fieldName: string): boolean {
    const field = activeField(subgraph, typeName, fieldName);
    if (!field || field.requires) return false;
    if (field.isExternal || field.isOverridden) return comesWith(subgraph, provided, typeName, fieldName).length > 0;
    const members = types.possibleTypes(subgraph, typeName);
    if (types.interfaceObjects(subgraph, typeName).length > 0) return false;
    // Asked of an interface, each of its objects answers.
    return !members || [...members].every((member) => isDirect({ subgraph, provided }, member, fieldName));
  }

  /** The fields provided below a field that comes with an object; a subgraph has its entities' keys always. */
  function comesWith(
    subgraph: string,
    provided: readonly SelectionSetNode[],
    typeName: string,
    fieldName: string,
  ): SelectionSetNode[] {
    const keys = types.keys(subgraph, types.nameIn(subgraph, typeName) ?? typeName);
    return [...provided, ...keys.map(({ selectionSet }) => selectionSet)].flatMap((selectionSet) =>
      providedBelow(selectionSet, typeName, fieldName, supergraph),
    );
  }

  function below(held: readonly Held[], typeName: string, fieldName: string, subgraph: string) {
    const { provided = [] } = held.find((each) => each.subgraph === subgraph) ?? {};
    const field = types.field(subgraph, types.nameIn(subgraph, typeName) ?? typeName, fieldName);
    const inner = comesWith(subgraph, provided, typeName, fieldName);
    return {
      subgraph,
      provided: field?.provides ? [...inner, field.provides] : inner,
      namedType: field?.namedType ?? "",
    };
  }

  function entries(held: readonly Held[], typeName: string): ReadonlyMap<string, SelectionSetNode | null> {
    const found = new Map<string, SelectionSetNode | null>(held.map(({ subgraph }) => [subgraph, null]));
    if (typeName === queryType) {
      for (const subgraph of types.subgraphs) if (types.hasType(subgraph, typeName)) found.set(subgraph, null);
      return found;
    }
    const place = `${typeName} ${held.map(heldKey).join()}`;
    const before = known.get(place);
    if (before) return before;
    if (underWay.has(place)) {
      restsOnUnknown = true;
      return found;
    }
    const restedBefore = restsOnUnknown;
    restsOnUnknown = false;
    underWay.add(place);
    for (let grows = true; grows;) {
      grows = false;
      // One step further each time: the nearest come first.
      const within = new Set(found.keys());
      for (const subgraph of types.subgraphs) {
        if (found.has(subgraph)) continue;
        const key = keyOf(held, typeName, subgraph, null, within);
        if (!key) continue;
        found.set(subgraph, key);
        grows = true;
      }
    }
    underWay.delete(place);
    if (!restsOnUnknown || underWay.size === 0) known.set(place, found);
    restsOnUnknown ||= restedBefore;
    return found;
  }

  function keyOf(
    held: readonly Held[],
    typeName: string,
    subgraph: string,
    requires: SelectionSetNode | null,
    within: ReadonlySet<string> | undefined,
  ): SelectionSetNode | undefined {
    const name = types.nameIn(subgraph, typeName);
    if (name === undefined) return undefined;
    for (const selectionSet of keysOf(held, typeName, subgraph)) {
      const all = requires ? selectionSetOf([...selectionSet.selections, ...requires.selections]) : selectionSet;
      if (wantedOf(all, typeName).every((wanted) => !restOf(held, typeName, wanted, within))) return all;
    }
    return undefined;
  }

  /** The keys by which a subgraph gives entities; of an interface, those for all objects that may come from where they are held. */
  function keysOf(held: readonly Held[], typeName: string, subgraph: string): SelectionSetNode[] {
    const resolvable = (name: string) =>
      types.keys(subgraph, name).flatMap(({ selectionSet, isResolvable }) => (isResolvable ? selectionSet : []));
    const members = types.possibleTypes(subgraph, typeName);
    const own = resolvable(types.nameIn(subgraph, typeName) ?? typeName);
    // Asked by the interface's name, only an entity of that name can be given.
    const isTypeKnown = held.every((each) => !types.isInterfaceObject(each.subgraph, typeName));
    if (!members || own.length > 0 || !isTypeKnown) return own;
    const mayCome = held.flatMap((each) => [...(types.possibleTypes(each.subgraph, typeName) ?? [])]);
    const [first, ...others] = [...members];
    if (first === undefined || mayCome.some((name) => !members.has(name))) return [];
    return resolvable(first).filter((key) =>
      others.every((other) => resolvable(other).some((same) => print(same) === print(key))),
    );
  }

  function keyWith(
    held: readonly Held[],
    typeName: string,
    { subgraph, requires }: Option,
    within?: ReadonlySet<string>,
  ) {
    const place = `${subgraph} ${typeName} ${held.map(heldKey).join()} ${requires ? print(requires) : ""}`;
    if (underWay.has(place)) {
      restsOnUnknown = true;
      return undefined;
    }
    underWay.add(place);
    const key = keyOf(held, typeName, subgraph, requires, within);
    underWay.delete(place);
    return key;
  }

  function optionsFor(
    held: readonly Held[],
    typeName: string,
    fieldName: string,
    within?: ReadonlySet<string>,
  ): Option[] {
    const direct = held.filter((each) => isDirect(each, typeName, fieldName)).map(({ subgraph }) => subgraph);
    const reached = within ?? new Set(entries(held, typeName).keys());
    const found: Option[] = direct.map((subgraph) => ({ subgraph, requires: null }));
    for (const subgraph of reached) {
      if (!direct.includes(subgraph) && isDirect({ subgraph, provided: [] }, typeName, fieldName))
        found.push({ subgraph, requires: null });
    }
    for (const subgraph of reached) {
      const requires = activeField(subgraph, typeName, fieldName)?.requires;
      if (requires && keyWith(held, typeName, { subgraph, requires }, within)) found.push({ subgraph, requires });
    }
    return found;
  }

  /** The unavailable part of a field; null when all is available. */
  function restOf(
    held: readonly Held[],
    typeName: string,
    wanted: Wanted,
    within?: ReadonlySet<string>,
  ): Wanted | null {
    let rest = wanted;
    for (const { subgraph } of optionsFor(held, typeName, wanted.name, within)) {
      const { namedType, ...inner } = below(held, typeName, wanted.name, subgraph);
      if (!rest.selectionSet) return null;
      const more = split(inner, namedType, rest.selectionSet).rest;
      if (!more) return null;
      rest = { ...rest, selectionSet: more };
    }
    return rest;
  }

  function split(held: Held, namedType: string, selectionSet: SelectionSetNode): Split {
    const place = `${namedType} ${heldKey(held)}`;
    const bySelection = splits.get(selectionSet) ?? new Map<string, Split>();
    splits.set(selectionSet, bySelection);
    const before = bySelection.get(place);
    if (before) return before;
    const now: SelectionNode[] = [];
    const rest: SelectionNode[] = [];
    const add = (objects: readonly Held[], typeName: string, wanted: Wanted) => {
      const lacking = restOf(objects, typeName, wanted);
      if (lacking) rest.push(fragmentOn(typeName, [fieldOf(lacking)]));
      if (lacking === wanted) return;
      // Of a partly available field, the planner leaves out the rest by itself.
      now.push(fragmentOn(typeName, [fieldOf(wanted)]));
    };
    if (types.isInterfaceObject(held.subgraph, namedType)) {
      const { untyped, typed } = splitUntyped(held, namedType, selectionSet);
      for (const wanted of untyped) now.push(fieldOf(wanted));
      const source = typed && typeSource([held], namedType);
      // Where no subgraph gives an object's type, it is unknown: that is no reason to refuse all else.
      if (typed && source === undefined) rest.push(...typed.selections.filter((selection) => !isTypeName(selection)));
      else if (typed) {
        const objects = [{ subgraph: source ?? "", provided: [] }, held];
        // Even where nothing is wanted of some, their type may be.
        now.push(typeNameField);
        for (const objectType of types.objectTypes(namedType).filter(isVisible))
          for (const wanted of wantedOf(typed, objectType)) add(objects, objectType, wanted);
      }
    } else {
      for (const objectType of objectTypesIn(held.subgraph, namedType))
        for (const wanted of wantedOf(selectionSet, objectType)) add([held], objectType, wanted);
      for (const untyped of types.interfaceObjects(held.subgraph, namedType)) {
        const part = split(held, untyped, selectionSet);
        if (part.now) now.push(fragmentOn(untyped, part.now.selections));
        if (part.rest) rest.push(fragmentOn(untyped, part.rest.selections));
      }
    }
    const found: Split =
      rest.length === 0
        ? { now: selectionSet, rest: null }
        : { now: now.length > 0 ? selectionSetOf(now) : null, rest: selectionSetOf(rest) };
    if (underWay.size === 0) bySelection.set(place, found);
    return found;
  }

  function splitUntyped(held: Held, typeName: string, { selections }: SelectionSetNode) {
    const untyped: Wanted[] = [];
    const typed: SelectionNode[] = [];
    const fields: SelectionNode[] = [];
    for (const selection of selections) {
      const condition = selection.kind === Kind.INLINE_FRAGMENT ? selection.typeCondition?.name.value : undefined;
      if (isTypeName(selection) || (condition !== undefined && !supergraph.isSubType(typeName, condition)))
        typed.push(selection);
      else fields.push(selection);
    }
    for (const wanted of wantedOf(selectionSetOf(fields), typeName)) {
      if (restOf([held], typeName, wanted)) typed.push(fieldOf(wanted));
      else untyped.push(wanted);
    }
    return { untyped, typed: typed.length > 0 ? selectionSetOf(typed) : null };
  }

  function splitCommon(held: Held, typeName: string, selectionSet: SelectionSetNode) {
    const { selections } = selectionSet;
    const byType = selections.filter(({ kind }) => kind === Kind.INLINE_FRAGMENT);
    const keys = new Set<string>();
    const addKeys = (selection: SelectionNode): void => {
      if (selection.kind === Kind.FIELD) keys.add((selection.alias ?? selection.name).value);
      if (selection.kind === Kind.INLINE_FRAGMENT) selection.selectionSet.selections.forEach(addKeys);
    };
    byType.forEach(addKeys);
    const isCommon = (wanted: Wanted): boolean => !keys.has(wanted.key) && !restOf([held], typeName, wanted);
    const all = wantedOf(selectionSetOf(selections.filter(({ kind }) => kind === Kind.FIELD)), typeName);
    const common = all.filter(isCommon);
    if (common.length === 0) return { common, rest: selectionSet };
    return {
      common,
      rest: selectionSetOf([...all.filter((wanted) => !common.includes(wanted)).map(fieldOf), ...byType]),
    };
  }

  function typeSource(held: readonly Held[], typeName: string): string | undefined {
    return [...entries(held, typeName).keys()].find(
      (subgraph) => types.possibleTypes(subgraph, typeName) !== undefined,
    );
  }

  function objectTypesIn(subgraph: string, typeName: string): string[] {
    const members = types.possibleTypes(subgraph, typeName);
    return members ? [...members].filter(isVisible) : [typeName];
  }

  return { wantedOf, entries, optionsFor, keyWith, split, below, splitUntyped, splitCommon, typeSource, objectTypesIn };
}

const isTypeName = (selection: SelectionNode) => selection.kind === Kind.FIELD && selection.name.value === "__typename";

const heldKey = ({ subgraph, provided }: Held) =>
  provided.length === 0 ? subgraph : `${subgraph} ${provided.map(print).join()}`;

export function selectionSetOf(selections: readonly SelectionNode[]): SelectionSetNode {
  return { kind: Kind.SELECTION_SET, selections };
}

function fragmentOn(typeName: string, selections: readonly SelectionNode[]): SelectionNode {
  const typeCondition = { kind: Kind.NAMED_TYPE, name: { kind: Kind.NAME, value: typeName } } as const;
  return { kind: Kind.INLINE_FRAGMENT, typeCondition, selectionSet: selectionSetOf(selections) };
}

export function fieldOf({ key, name, args, directives, selectionSet }: Wanted): FieldNode {
  return {
    kind: Kind.FIELD,
    name: { kind: Kind.NAME, value: name },
    arguments: args,
    directives,
    ...(key !== name && { alias: { kind: Kind.NAME, value: key } }),
    ...(selectionSet && { selectionSet }),
  };
}

const typeNameField: FieldNode = { kind: Kind.FIELD, name: { kind: Kind.NAME, value: "__typename" } };
