import { createApiSchema } from "../schema/api-schema.ts";
import { createPlanRehearsal, type PlanRehearsal } from "./plan-rehearsal.ts";
import type { PlannerCore } from "./query-planner.ts";
import { createStepwisePlanner } from "./stepwise-planner.ts";
import { readSubgraphTypes } from "../schema/subgraph-types.ts";
import { parseSupergraph } from "../schema/supergraph.ts";

/** The parts beside every planner: the judge of its plans, and the planner of last resort. */
export interface PlanSafeguards {
  rehearse: PlanRehearsal;
  stepwise: PlannerCore;
}

export function createPlanSafeguards(supergraphSdl: string): PlanSafeguards {
  const supergraph = parseSupergraph(supergraphSdl);
  const types = readSubgraphTypes(supergraph.document);
  const schema = createApiSchema({ supergraph: supergraph.document });
  return {
    rehearse: createPlanRehearsal({ supergraph, types, schema }),
    stepwise: createStepwisePlanner({ supergraph, types, schema }),
  };
}
