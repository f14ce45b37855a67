import { GraphQLError } from "graphql";
import { createEntityPath, type EntityPath } from "./entity-paths.ts";
import { clientPath, type Execution, type Json } from "./execution.ts";
import type { ResponsePath } from "./projection.ts";
import type { PathSegment, PlanNode, RequiresSelection } from "../planning/query-plan.ts";
import type { Supergraph } from "../schema/supergraph.ts";

/** The parts of entities at a path that a fetch sends. */
export interface Requirement {
  path: EntityPath;
  requires: readonly RequiresSelection[];
}

export function requirementsOf(node: PlanNode | null, supergraph: Supergraph): Requirement[] {
  const of = (path: PathSegment[], requires: readonly RequiresSelection[]): Requirement => ({
    path: createEntityPath(path, supergraph),
    requires,
  });
  switch (node?.kind) {
    case "Flatten":
      return node.node.requires ? [of(node.path, node.node.requires)] : [];
    case "BatchFetch":
      return node.batches.flatMap(({ paths, requires }) => paths.map((path) => of(path, requires)));
    case "Condition":
      return [...requirementsOf(node.ifTrue, supergraph), ...requirementsOf(node.ifFalse, supergraph)];
    case "Sequence":
    case "Parallel":
      return node.nodes.flatMap((inner) => requirementsOf(inner, supergraph));
    default:
      return [];
  }
}

/**
 * The errors that the client gets. A planner may fetch of some objects fields that were asked of others only; an error there counts
 * for other values missing through it. An error in a key or a `@requires` is reported at the object that needs it: a subgraph may
 * have made a value of the null.
 */
export function askedErrors(
  execution: Execution,
  data: Json | null,
  requirements: readonly Requirement[],
): GraphQLError[] {
  const { errors, entityErrors, places } = execution;
  const told = new Set<string>();
  /** By message, the places at which an error is reported, and those above them. */
  const toldWithin = new Set<string>();
  let objectThatNeeds: ((place: ResponsePath) => ResponsePath | undefined) | undefined;
  for (const { path, message } of errors) {
    if (!path || !places || !isAskedFor(path, data)) continue;
    for (let depth = 0; depth <= path.length; depth++) toldWithin.add(textOf(message, path.slice(0, depth)));
  }
  return errors.flatMap((error) => {
    const one = isAskedFor(error.path, data) ? error : atWhatNeeds(error);
    if (!one) return [];
    // A field may be fetched twice: for the client, and for a requirement.
    if (!one.path) return one;
    const text = textOf(one.message, one.path);
    if (told.has(text)) return [];
    told.add(text);
    return one;
  });

  function atWhatNeeds(error: GraphQLError): GraphQLError | null {
    const atEntity = entityErrors?.get(error);
    if (atEntity && isAskedFor(atEntity.path, data) && isLacking(atEntity.path ?? [], data)) return atEntity;
    const place = places?.get(error);
    objectThatNeeds ??= createNeeds(execution.data, requirements);
    const needing = place && objectThatNeeds(place);
    if (!needing) return null;
    const path = clientPath(needing, execution);
    while (!isAskedFor(path, data)) path.pop();
    const { message, extensions } = error;
    return toldWithin.has(textOf(message, path)) ? null : new GraphQLError(message, { path, extensions });
  }
}

const textOf = (message: string, path: ResponsePath) => JSON.stringify([message, path]);

/** Finds the object whose representation has the value at a place of the data. */
function createNeeds(data: Json, requirements: readonly Requirement[]) {
  const sent = new Map<string, Set<readonly RequiresSelection[]>>();
  for (const { path, requires } of requirements) {
    path.locate(data, (_, location) => {
      const key = JSON.stringify(location);
      const known = sent.get(key);
      if (known) known.add(requires);
      else sent.set(key, new Set([requires]));
    });
  }
  return (place: ResponsePath): ResponsePath | undefined => {
    for (let depth = place.length - 1; depth >= 0; depth--) {
      const location = place.slice(0, depth);
      const rest = place.slice(depth).filter((key) => typeof key === "string");
      for (const requires of sent.get(JSON.stringify(location)) ?? []) if (isNeeded(rest, requires)) return location;
    }
    return undefined;
  };
}

function isNeeded([key, ...rest]: readonly string[], requires: readonly RequiresSelection[]): boolean {
  return requires.some((selection) => {
    if (selection.kind === "InlineFragment") return key !== undefined && isNeeded([key, ...rest], selection.selections);
    if (selection.name !== key) return false;
    return rest.length === 0 || !selection.selections || isNeeded(rest, selection.selections);
  });
}

/** Whether there is a null in the object at a path. */
function isLacking(path: ResponsePath, data: Json | null): boolean {
  let value: unknown = data;
  // Shown to lead somewhere.
  for (const key of path) value = (value as Record<string | number, unknown> | null)?.[key];
  return typeof value !== "object" || value === null || Object.values(value).includes(null);
}

/** Whether a path leads somewhere in the response. */
function isAskedFor(path: ResponsePath | undefined, data: Json | null): boolean {
  let value: unknown = data;
  for (const key of path ?? []) {
    if (key === "@" || typeof value !== "object" || value === null) return true;
    if (!Object.hasOwn(value, key)) return false;
    // Shown to have it.
    value = (value as Record<string | number, unknown>)[key];
  }
  return true;
}
