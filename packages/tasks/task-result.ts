import { launchTypeOf, type LaunchKind } from "@toolyard/launch";
import { TASK_RESULT_TYPES, type Task, type TaskKind } from "@toolyard/tasks";

export interface TypedResult {
  __typename: (typeof TASK_RESULT_TYPES)[TaskKind];
}

/** What the tools subgraph stores for a sync. */
export interface SyncResult extends TypedResult {
  commitSha: string;
  toolVersionId: string | null;
  documentIds: string[];
  warnings: string[];
}

/** The result with its type's name, by which the union is resolved; null until there is one. */
export function typedResult({ kind, result }: Task): TypedResult | null {
  if (typeof result !== "object" || result === null) return null;
  return { ...result, __typename: TASK_RESULT_TYPES[kind] };
}

/** The type of a stored result's launch. Those of earlier versions have the type's name in place of a kind. */
export function storedLaunchType(launch: object): ReturnType<typeof launchTypeOf> {
  // What was stored was parsed then.
  const { kind, __typename } = launch as
    { kind?: never; __typename: ReturnType<typeof launchTypeOf> } | { kind: LaunchKind; __typename?: never };
  return kind === undefined ? __typename : launchTypeOf({ kind });
}
