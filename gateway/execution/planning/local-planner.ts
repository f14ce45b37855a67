import { messageOf } from "@toolyard/service-kit";
import { createJudgement } from "./judgement.ts";
import type { QueryPlan } from "./query-plan.ts";
import type { PlannerCore, PlanRequest, QueryPlanner } from "./query-planner.ts";

export interface LocalPlannerOptions {
  supergraphSdl: string;
  /** The plan of the first of them that gives a right one is taken; the stepwise planner's where none does. */
  cores: readonly PlannerCore[];
  /** Told of each plan that was not taken. */
  onFault?: (fault: string, plan: QueryPlan | null, request: PlanRequest) => void;
}

/**
 * Plans in this process: for tests, benches and tools, which write their operations themselves. What an operation of a client may do to
 * a planner is why executors plan elsewhere unless told otherwise.
 */
export function createLocalPlanner({ supergraphSdl, cores, onFault }: LocalPlannerOptions): QueryPlanner {
  const { rehearse, stepwise } = createJudgement(supergraphSdl);
  return {
    async plan(request) {
      for (const core of cores) {
        let plan: QueryPlan | null = null;
        let fault: string | null;
        try {
          plan = core.plan(request);
          fault = await rehearse(plan, request);
        } catch (error) {
          fault = messageOf(error);
        }
        if (plan && fault === null) return plan;
        onFault?.(fault ?? "", plan, request);
      }
      return stepwise.plan(request);
    },
    close: () => Promise.resolve(),
  };
}
