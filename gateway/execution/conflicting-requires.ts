import { Kind, type FieldNode, type SelectionNode, type SelectionSetNode } from "graphql";
import type { Execution, Json } from "./execution.ts";
import type { Step } from "./fetch-steps.ts";
import type { Supergraph } from "./supergraph.ts";

/**
 * Selections that no planner can mix up, which together are the one given. Where fields `@require` one field under different arguments
 * (`price(currency: "EUR")` and `price(currency: "USD")`), planners fetch both under one key of the data, and the outcome is wrong or
 * null; so each set of arguments gets a selection, planned and run for itself. Mostly there is one. What may run only once begins once:
 * see one-root.ts.
 *
 * @param selectionSet normalized: without fragment spreads and conditions
 */
export function withoutConflicts(
  selectionSet: SelectionSetNode,
  supergraph: Pick<Supergraph, "requiredArguments">,
): SelectionSetNode[] {
  const groups: ReadonlyMap<string, string>[] = [];
  /** By the fields on the way to a place that require something with arguments: the group that the place is in. */
  const groupOf = new Map<string, number>([["", 0]]);
  const place = (way: string): number => {
    const known = groupOf.get(way);
    if (known !== undefined) return known;
    const required = way.split(" ").flatMap((name) => supergraph.requiredArguments(name));
    let index = groups.findIndex((args) => required.every(([field, text]) => (args.get(field) ?? text) === text));
    if (index < 0) index = groups.push(new Map()) - 1;
    groups[index] = new Map([...(groups[index] ?? []), ...required]);
    groupOf.set(way, index);
    return index;
  };
  const wayTo = ({ name }: FieldNode, way: string): string => {
    if (supergraph.requiredArguments(name.value).length === 0 || way.split(" ").includes(name.value)) return way;
    return [...way.split(" "), name.value].filter(Boolean).sort().join(" ");
  };
  const visitFields = ({ selections }: SelectionSetNode, way: string): void => {
    for (const selection of selections) {
      if (selection.kind === Kind.FRAGMENT_SPREAD) continue;
      const inner = selection.kind === Kind.FIELD ? wayTo(selection, way) : way;
      place(inner);
      if (selection.selectionSet) visitFields(selection.selectionSet, inner);
    }
  };
  groups.push(new Map());
  visitFields(selectionSet, "");
  if (groups.length < 2) return [selectionSet];
  /** What is in a group, and what leads to it. */
  const partOf = ({ selections }: SelectionSetNode, group: number, way: string): SelectionSetNode | null => {
    const kept = selections.flatMap((selection): SelectionNode[] => {
      if (selection.kind === Kind.FRAGMENT_SPREAD) return [];
      const inner = selection.kind === Kind.FIELD ? wayTo(selection, way) : way;
      const below = selection.selectionSet && partOf(selection.selectionSet, group, inner);
      if (below) return [{ ...selection, selectionSet: below }];
      if (selection.kind !== Kind.FIELD || groupOf.get(inner) !== group) return [];
      // An object that has all its fields elsewhere is still an answer.
      return [selection.selectionSet ? { ...selection, selectionSet: onlyTypeName } : selection];
    });
    return kept.length > 0 ? { kind: Kind.SELECTION_SET, selections: kept } : null;
  };
  return groups.flatMap((_, group) => partOf(selectionSet, group, "") ?? []);
}

/** The selections of a mutation, in turn: one for each root field, or all in one where nothing is in conflict. */
export function withoutConflictsInTurn(
  selectionSet: SelectionSetNode,
  supergraph: Pick<Supergraph, "requiredArguments">,
): SelectionSetNode[][] {
  if (withoutConflicts(selectionSet, supergraph).length < 2) return [[selectionSet]];
  return selectionSet.selections.map((selection) =>
    withoutConflicts({ kind: Kind.SELECTION_SET, selections: [selection] }, supergraph),
  );
}

const onlyTypeName: SelectionSetNode = {
  kind: Kind.SELECTION_SET,
  selections: [{ kind: Kind.FIELD, name: { kind: Kind.NAME, value: "__typename" } }],
};

/** Runs the plans of several selections side by side, each over data of its own, and puts their data together. */
export function inOneAnswer(steps: readonly Step[]): Step | null {
  const [first, ...others] = steps;
  if (!first || others.length === 0) return first ?? null;
  return async (execution) => {
    const parts = others.map((): Execution => ({ ...execution, data: {}, errors: [] }));
    await Promise.all([first(execution), ...others.map((step, index) => step(parts[index] ?? execution))]);
    joinInto(execution, parts);
  };
}

/** Adds what was found over data of their own to an execution. */
export function joinInto(execution: Execution, parts: readonly Execution[]): void {
  for (const { data, errors, entityErrors, hasFailedFetch } of parts) {
    merge(execution.data, data);
    if (entityErrors) execution.entityErrors = new Map([...(execution.entityErrors ?? []), ...entityErrors]);
    const known = new Set(execution.errors.map(placeOf));
    // Of fetches that several plans make there is one error each.
    execution.errors.push(...errors.filter((error) => !known.has(placeOf(error))));
    execution.hasFailedFetch ||= hasFailedFetch;
  }
}

function placeOf({ path, message }: { path?: readonly (string | number)[] | undefined; message: string }): string {
  return JSON.stringify([path, message]);
}

function merge(target: Json, source: Json): void {
  for (const key in source) target[key] = merged(target[key], source[key]);
}

function merged(mine: unknown, theirs: unknown): unknown {
  if (mine === undefined || mine === null) return theirs;
  if (typeof mine !== "object" || typeof theirs !== "object" || theirs === null) return mine;
  if (Array.isArray(mine)) {
    // A list that changed between two fetches cannot be put together: its further fields are missing.
    return Array.isArray(theirs) && theirs.length === mine.length
      ? mine.map((item, index) => merged(item, theirs[index]))
      : mine;
  }
  // Objects that are not arrays: keys only.
  if (!Array.isArray(theirs)) merge(mine as Json, theirs as Json);
  return mine;
}
