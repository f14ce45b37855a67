import type { PlannerCore, QueryPlanner } from "./query-planner.ts";

/**
 * Plans in this process: for tests, benches and tools, which write their operations themselves. What an operation of a client may do to
 * a planner is why executors plan elsewhere unless told otherwise.
 */
export function createLocalPlanner(core: PlannerCore): QueryPlanner {
  return {
    plan: async (request) => core.plan(request),
    close: () => Promise.resolve(),
  };
}
