import { isObject } from "@toolyard/service-kit/json.ts";
import type { RequiresSelection, Rewrite } from "../planning/query-plan.ts";
import { createRewriter } from "./rewrites.ts";
import type { Supergraph } from "../schema/supergraph.ts";

type Json = Record<string, unknown>;

/**
 * Makes the representation that a subgraph takes for an entity, as JSON: its type, its key, its `@requires` fields.
 *
 * @returns null when the entity cannot be asked for there: of another type, or without a key.
 */
export type RepresentationMaker = (entity: Json, variables: Json, cache: RepresentationCache) => string | null;

/** Representations made for the same fetch, in which an entity often occurs many times. Empty at first. */
interface RepresentationCache {
  /** For the type of the first one, by its only key. */
  typeName: string;
  byKey: Map<string, string>;
}

export interface RepresentationOptions {
  requires: readonly RequiresSelection[];
  inputRewrites: readonly Rewrite[];
  supergraph: Supergraph;
}

export function createRepresentationMaker(options: RepresentationOptions): RepresentationMaker {
  const { requires, supergraph } = options;
  const rewrite = createRewriter(options.inputRewrites, supergraph);
  const flat = rewrite ? null : flatSelection(requires);
  if (flat) return createFlatMaker(flat, supergraph);
  return (entity, variables) => {
    const typeName = entity["__typename"];
    if (typeof typeName !== "string") return null;
    const representation = select(entity, requires, variables, supergraph);
    if (representation === null) return null;
    representation["__typename"] ??= typeName;
    if (!hasValue(representation) && !supergraph.isKeyedByType(typeName)) return null;
    rewrite?.(representation);
    return JSON.stringify(representation);
  };
}

interface FlatSelection {
  typeCondition: string | null;
  fields: readonly { name: string; label: string }[];
}

/** The form of nearly all representations: some leaves of one type. Null for all others. */
function flatSelection(requires: readonly RequiresSelection[]): FlatSelection | null {
  const [only] = requires;
  if (requires.length !== 1 || only?.kind !== "InlineFragment" || only.skipIf !== null || only.includeIf !== null)
    return null;
  const fields: { name: string; label: string }[] = [];
  const labels = new Set<string>();
  for (const field of only.selections) {
    if (field.kind !== "Field" || field.selections !== null) return null;
    const key = field.alias ?? field.name;
    // Written once each; the type comes first.
    if (labels.has(key) || (key === "__typename" && field.name !== key)) return null;
    labels.add(key);
    if (key !== "__typename") fields.push({ name: field.name, label: `,${JSON.stringify(key)}:` });
  }
  return { typeCondition: only.typeCondition, fields };
}

/** The same as the general way, straight to text: representations are the largest part of requests to subgraphs. */
function createFlatMaker({ typeCondition, fields }: FlatSelection, supergraph: Supergraph): RepresentationMaker {
  const key = fields.length === 1 ? fields[0]?.name : undefined;
  return (entity, _variables, cache) => {
    const typeName = entity["__typename"];
    if (typeof typeName !== "string") return null;
    if (typeCondition !== null && typeCondition !== typeName && !supergraph.isSubType(typeName, typeCondition))
      return null;
    if (key === undefined || (cache.typeName !== "" && cache.typeName !== typeName)) return textOf(entity, typeName);
    const value = entity[key];
    if (typeof value !== "string") return textOf(entity, typeName);
    const known = cache.byKey.get(value);
    if (known !== undefined) return known;
    const text = textOf(entity, typeName);
    cache.typeName = typeName;
    if (text !== null) cache.byKey.set(value, text);
    return text;
  };

  function textOf(entity: Json, typeName: string): string | null {
    let text = `{"__typename":${quoted(typeName)}`;
    let hasValue = false;
    for (let i = 0; i < fields.length; i++) {
      const { name, label } = fields[i] as FlatSelection["fields"][number]; // the loop stays within the array
      const value = entity[name];
      if (value === undefined || typeof value === "function") return null;
      if (value !== null) hasValue = true;
      text += label + jsonOf(value);
    }
    return hasValue || supergraph.isKeyedByType(typeName) ? `${text}}` : null;
  }
}

/** `JSON.stringify` for the values of keys, without the call out of the engine's compiled code. */
function jsonOf(value: unknown): string {
  if (typeof value === "string") return quoted(value);
  if (typeof value === "number" && Number.isFinite(value)) return String(value);
  return JSON.stringify(value);
}

function quoted(text: string): string {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    // Anything that JSON escapes, or may: keys rarely have any.
    if (code < 0x20 || code > 0x7e || code === 0x22 || code === 0x5c) return JSON.stringify(text);
  }
  return `"${text}"`;
}

/** A key that is null throughout names no entity. */
function hasValue(representation: Json): boolean {
  for (const key in representation) {
    if (key !== "__typename" && representation[key] !== null) return true;
  }
  return false;
}

/** @returns null when a selected field is not in the data: an earlier fetch failed, or was of another type. */
function select(
  source: Json,
  selections: readonly RequiresSelection[],
  variables: Json,
  supergraph: Supergraph,
): Json | null {
  const result: Json = {};
  let matched = false;
  for (const selection of selections) {
    if (selection.kind === "Field") {
      const value = selectField(source, selection, variables, supergraph);
      if (value === undefined) return null;
      result[selection.alias ?? selection.name] = value;
      matched = true;
      continue;
    }
    if (!isIncluded(selection, variables) || !isOfType(source, selection.typeCondition, supergraph)) continue;
    const part = select(source, selection.selections, variables, supergraph);
    // Several fragments may apply, one for each key: any complete one will do.
    if (part === null) continue;
    mergeInto(result, part);
    matched = true;
  }
  return matched ? result : null;
}

function selectField(
  source: Json,
  field: Extract<RequiresSelection, { kind: "Field" }>,
  variables: Json,
  supergraph: Supergraph,
): unknown {
  const value = source[field.name];
  // JSON has no functions: all objects inherit the one of that name.
  if (typeof value === "function") return undefined;
  if (value === undefined || value === null || field.selections === null) return value;
  return selectNested(value, field.selections, variables, supergraph);
}

function selectNested(
  value: unknown,
  selections: readonly RequiresSelection[],
  variables: Json,
  supergraph: Supergraph,
): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) {
    const items: unknown[] = [];
    for (const item of value) {
      const selected = selectNested(item, selections, variables, supergraph);
      if (selected === undefined) return undefined;
      items.push(selected);
    }
    return items;
  }
  // Not an array: an object, read by key only.
  const source = value as Json;
  const selected = select(source, selections, variables, supergraph);
  if (selected !== null) return selected;
  // No fragment is about this object's type: the subgraph that asked learns the type alone.
  const isAboutOtherTypes = selections.every(
    (selection) => selection.kind === "InlineFragment" && !isOfType(source, selection.typeCondition, supergraph),
  );
  return isAboutOtherTypes ? { __typename: source["__typename"] } : undefined;
}

function isIncluded(selection: { skipIf: string | null; includeIf: string | null }, variables: Json): boolean {
  if (selection.skipIf !== null && variables[selection.skipIf] === true) return false;
  return selection.includeIf === null || variables[selection.includeIf] === true;
}

function isOfType(source: Json, condition: string | null, supergraph: Supergraph): boolean {
  if (condition === null) return true;
  const typeName = source["__typename"];
  return typeof typeName !== "string" || supergraph.isSubType(typeName, condition);
}

function mergeInto(target: Json, source: Json): void {
  for (const key in source) {
    const mine = target[key];
    const theirs = source[key];
    if (isObject(mine) && isObject(theirs)) mergeInto(mine, theirs);
    else if (Array.isArray(mine) && Array.isArray(theirs)) {
      theirs.forEach((item: unknown, index) => {
        const own: unknown = mine[index];
        if (isObject(own) && isObject(item)) mergeInto(own, item);
      });
    } else if (mine === undefined) target[key] = theirs;
  }
}
