import { TASK_RESULT_TYPES, type Task, type TaskKind } from "./task.ts";

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
export function typedResult({ kind }: Task, result: unknown): TypedResult | null {
  if (typeof result !== "object" || result === null) return null;
  return { ...result, __typename: TASK_RESULT_TYPES[kind] };
}
