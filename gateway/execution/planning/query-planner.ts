import type { QueryPlan } from "./query-plan.ts";

/** All inputs of a plan: the same request gives the same plan. */
export interface PlanRequest {
  /** One document of one operation, valid against the supergraph's API schema, without introspection. */
  operation: string;
  /** Null when the operation has no name. */
  operationName: string | null;
  /** Labels of progressive `@override`s that are on, `percent(…)` ones left out. */
  overrideLabels: readonly string[];
  /** `@override(label: "percent(n)")` is on where n is greater than this: 0 to 100. */
  overridePercentage: number;
  /** The values of the variables that its conditions looked at: they are decided, but may be arguments as well. */
  conditions?: Readonly<Record<string, boolean>>;
}

/** A planner's own work, in whichever process it is done. Synchronous: planning is computing. */
export interface PlannerCore {
  /** @throws Error when there is no plan; the message is the planner's own. */
  plan(request: PlanRequest): QueryPlan;
}

/** Turns a valid operation into the fetches that answer it. */
export interface QueryPlanner {
  /** @throws ToolyardError when there is no plan: INTERNAL_SERVER_ERROR, TIMEOUT or CAPACITY_EXHAUSTED */
  plan(request: PlanRequest): Promise<QueryPlan>;
  close(): Promise<void>;
}
