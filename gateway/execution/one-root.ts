import { Kind, parse, print, visit, type DocumentNode, type SelectionNode, type SelectionSetNode } from "graphql";
import { joinInto } from "./conflicting-requires.ts";
import type { Execution, Json } from "./execution.ts";
import { createRootFetch, createRootMerge, type Step, type StepOptions } from "./fetch-steps.ts";
import { compilePlan, type CompiledPlan } from "./plan-compiler.ts";
import type { FetchNode, PlanNode, QueryPlan } from "./query-plan.ts";
import type { SubgraphResponse } from "./subgraph-client.ts";

/**
 * Several plans of one mutation or subscription (see conflicting-requires.ts) made one that begins once: the root field is asked for
 * with what every plan selects of it, under keys of each plan's own; each plan goes on from its part of the answer.
 *
 * @param plans at least two, of one root field
 * @throws Error when the plans do not begin alike
 */
export function compileOneRoot(plans: readonly QueryPlan[], options: StepOptions): CompiledPlan {
  const beginnings = plans.map(beginningOf);
  const fetches = beginnings.map(({ fetch }) => fetch);
  const runs = beginnings.map(({ rest }) => (rest ? compilePlan({ node: rest }, options).run : null));
  const merges = fetches.map((fetch) => createRootMerge(fetch, options));
  const fetch = combined(fetches);
  const client = options.clientOf(fetch.subgraph);
  /** The further plans' data, by the execution that they are for. */
  const furtherParts = new WeakMap<Execution, Execution[]>();

  function take(response: SubgraphResponse, execution: Execution): void {
    const parts = fetches.slice(1).map((): Execution => ({ ...execution, data: {}, errors: [] }));
    furtherParts.set(execution, parts);
    [execution, ...parts].forEach((part, index) => merges[index]?.(partOf(response, index), part));
  }

  const run: Step = async (execution) => {
    const parts = furtherParts.get(execution) ?? [];
    await Promise.all([execution, ...parts].map(async (part, index) => runs[index]?.(part)));
    joinInto(execution, parts);
  };
  if (fetch.operationKind === "subscription") return { run, subscription: { client, fetch, takeEvent: take } };
  const begin = createRootFetch(fetch, options, take);
  return {
    run: (execution) => (begin(execution) ?? Promise.resolve()).then(() => run(execution) ?? undefined),
    subscription: null,
  };
}

/** Steps one after the other, each when the one before is done. */
export function inTurn(steps: readonly Step[]): Step | null {
  const [first, ...others] = steps;
  if (!first || others.length === 0) return first ?? null;
  return async (execution) => {
    for (const step of steps) await step(execution);
  };
}

function beginningOf({ node }: QueryPlan): { fetch: FetchNode; rest: PlanNode | null } {
  const [first, ...rest] = node?.kind === "Sequence" ? node.nodes : [node];
  const fetch = first?.kind === "Subscription" ? first.primary : first;
  if (fetch?.kind !== "Fetch") throw new Error("The plan does not begin with the operation's root field.");
  return { fetch, rest: rest.length > 0 ? { kind: "Sequence", nodes: rest.filter((each) => each !== null) } : null };
}

function combined(fetches: readonly FetchNode[]): FetchNode {
  const [first] = fetches;
  if (!first || fetches.some(({ subgraph }) => subgraph !== first.subgraph))
    throw new Error("The plans of one root field begin in different subgraphs.");
  const documents = fetches.map(({ operation }) => withoutFragments(parse(operation, { noLocation: true })));
  const [root, ...others] = documents.map(operationOf);
  const [rootField] = root?.selectionSet.selections ?? [];
  if (!root || rootField?.kind !== Kind.FIELD) throw new Error("A fetch of the plan has no root field.");
  const selections = [root, ...others].flatMap(({ selectionSet }, index) =>
    selectionSet.selections.flatMap((field) =>
      field.kind === Kind.FIELD && field.selectionSet ? withPrefix(field.selectionSet, prefixOf(index)).selections : [],
    ),
  );
  const definitions = new Map(
    [root, ...others].flatMap(({ variableDefinitions = [] }) =>
      variableDefinitions.map((definition) => [definition.variable.name.value, definition] as const),
    ),
  );
  const operation = print({
    ...root,
    variableDefinitions: [...definitions.values()],
    selectionSet: {
      kind: Kind.SELECTION_SET,
      selections: [{ ...rootField, selectionSet: { kind: Kind.SELECTION_SET, selections } }],
    },
  });
  return {
    ...first,
    operation,
    variables: [...new Set(fetches.flatMap(({ variables }) => variables))],
    outputRewrites: [],
  };
}

function operationOf({ definitions }: DocumentNode) {
  const operation = definitions.find((definition) => definition.kind === Kind.OPERATION_DEFINITION);
  if (!operation) throw new Error("A fetch of the plan has no operation.");
  return operation;
}

/** Planners name fragments by themselves, so those of two plans may have one name. */
function withoutFragments(document: DocumentNode): DocumentNode {
  const fragments = new Map(
    document.definitions.flatMap((definition) =>
      definition.kind === Kind.FRAGMENT_DEFINITION ? [[definition.name.value, definition] as const] : [],
    ),
  );
  return visit(document, {
    FragmentSpread: ({ name }) => {
      const fragment = fragments.get(name.value);
      // What stands in for the spread is visited as well.
      return (
        fragment && {
          kind: Kind.INLINE_FRAGMENT,
          typeCondition: fragment.typeCondition,
          selectionSet: fragment.selectionSet,
        }
      );
    },
  });
}

/** The first plan's keys stay as they are. */
const prefixOf = (index: number) => (index === 0 ? "" : `_part${index}_`);

function withPrefix({ selections }: SelectionSetNode, prefix: string): SelectionSetNode {
  return {
    kind: Kind.SELECTION_SET,
    selections: selections.map((selection): SelectionNode => {
      if (selection.kind === Kind.INLINE_FRAGMENT)
        return { ...selection, selectionSet: withPrefix(selection.selectionSet, prefix) };
      if (selection.kind !== Kind.FIELD || prefix === "") return selection;
      return { ...selection, alias: { kind: Kind.NAME, value: prefix + (selection.alias ?? selection.name).value } };
    }),
  };
}

const partKey = /^_part(\d+)_(.*)$/;

/** One plan's part of an answer, as if it had asked alone. */
function partOf({ data, errors }: SubgraphResponse, index: number): SubgraphResponse {
  const prefix = prefixOf(index);
  const ownErrors = errors?.flatMap((error) => {
    const position = (error.path ?? []).findIndex((key, at) => at > 0 && typeof key === "string");
    const [, part = "0", key = ""] = partKey.exec(String(error.path?.[position] ?? "")) ?? [];
    if (Number(part) !== index) return [];
    return index === 0 ? [error] : [{ ...error, path: error.path?.with(position, key) }];
  });
  const ownData: Json = {};
  for (const key in data ?? {}) ownData[key] = ownPart(data?.[key], prefix);
  return {
    data: data && ownData,
    ...(ownErrors && ownErrors.length > 0 && { errors: ownErrors }),
  };
}

function ownPart(value: unknown, prefix: string): unknown {
  if (Array.isArray(value)) return value.map((item) => ownPart(item, prefix));
  if (typeof value !== "object" || value === null) return value;
  const own: Json = {};
  for (const [key, inner] of Object.entries(value)) {
    if (prefix === "" ? !partKey.test(key) : key.startsWith(prefix)) own[key.slice(prefix.length)] = inner;
  }
  return own;
}
