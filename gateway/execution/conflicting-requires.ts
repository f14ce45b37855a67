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
  const groups: { fields: Set<string>; args: Map<string, string> }[] = [];
  const place = (name: string) => {
    if (groups.some(({ fields }) => fields.has(name))) return;
    const required = supergraph.requiredArguments(name);
    if (required.length === 0) return;
    const fitting = groups.find(({ args }) => required.every(([field, text]) => (args.get(field) ?? text) === text));
    const group = fitting ?? { fields: new Set<string>(), args: new Map<string, string>() };
    if (!fitting) groups.push(group);
    group.fields.add(name);
    for (const [field, text] of required) group.args.set(field, text);
  };
  visitFields(selectionSet, place);
  if (groups.length < 2) return [selectionSet];
  const [, ...others] = groups;
  const elsewhere = new Set(others.flatMap(({ fields }) => [...fields]));
  const first = without(selectionSet, elsewhere);
  return [...(first ? [first] : []), ...others.flatMap(({ fields }) => only(selectionSet, fields) ?? [])];
}

function visitFields({ selections }: SelectionSetNode, visit: (name: string) => void): void {
  for (const selection of selections) {
    if (selection.kind === Kind.FIELD) visit(selection.name.value);
    if (selection.kind !== Kind.FRAGMENT_SPREAD && selection.selectionSet) visitFields(selection.selectionSet, visit);
  }
}

function without(selectionSet: SelectionSetNode, fields: ReadonlySet<string>): SelectionSetNode | null {
  return keep(selectionSet, (field) => {
    if (fields.has(field.name.value)) return null;
    if (!field.selectionSet) return field;
    // The object itself is still an answer.
    return { ...field, selectionSet: without(field.selectionSet, fields) ?? onlyTypeName };
  });
}

function only(selectionSet: SelectionSetNode, fields: ReadonlySet<string>): SelectionSetNode | null {
  return keep(selectionSet, (field) => {
    const inner = field.selectionSet && only(field.selectionSet, fields);
    if (inner) return { ...field, selectionSet: inner };
    if (!fields.has(field.name.value)) return null;
    return field.selectionSet ? { ...field, selectionSet: onlyTypeName } : field;
  });
}

function keep(
  { selections }: SelectionSetNode,
  change: (field: FieldNode) => FieldNode | null,
): SelectionSetNode | null {
  const kept = selections.flatMap((selection): SelectionNode[] => {
    if (selection.kind === Kind.FIELD) return [change(selection)].filter((field) => field !== null);
    if (selection.kind === Kind.FRAGMENT_SPREAD) return [selection];
    const selectionSet = keep(selection.selectionSet, change);
    return selectionSet ? [{ ...selection, selectionSet }] : [];
  });
  return kept.length > 0 ? { kind: Kind.SELECTION_SET, selections: kept } : null;
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
  for (const { data, errors, hasFailedFetch } of parts) {
    merge(execution.data, data);
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
