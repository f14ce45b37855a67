/** The child process of planner-pool.ts: plans its parent's operations one after the other, and ends with its parent. */
import { messageOf } from "@toolyard/service-kit/errors/errors.ts";
import { flushCompileCache } from "node:module";
import type { PlannerCore, PlanRequest } from "./query-planner.ts";
import { createPlanSafeguards, type PlanSafeguards } from "./plan-safeguards.ts";
import type { QueryPlan } from "./query-plan.ts";

export type PlannerKind = "hive" | "apollo";

/** To the child: the supergraph to plan for, once; then operations, each when the one before is answered. */
export type PlannerCommand = { supergraphSdl: string } | { plan: PlanRequest; isStepwise: boolean };

export type PlannerReply = { ready: true } | { plan: QueryPlan; fault: string | null } | { error: string };

const kind = process.argv[2];

async function createCore(supergraphSdl: string): Promise<PlannerCore> {
  // Loaded here only: the native planner can end the process that it is in, and Apollo's takes a while to load.
  if (kind === "hive") return (await import("./hive-planner.ts")).createHivePlanner({ supergraphSdl });
  return (await import("./apollo-planner.ts")).createApolloPlanner({ supergraphSdl });
}

let core: (PlannerCore & PlanSafeguards) | null = null;

async function answer(command: PlannerCommand): Promise<PlannerReply> {
  try {
    if ("supergraphSdl" in command) {
      core = { ...(await createCore(command.supergraphSdl)), ...createPlanSafeguards(command.supergraphSdl) };
      return { ready: true };
    }
    if (!core) throw new Error("The planner has no supergraph.");
    const request = command.plan;
    // Correct by construction, and the last resort.
    if (command.isStepwise) return { plan: core.stepwise.plan(request), fault: null };
    const plan = core.plan(request);
    return { plan, fault: await core.rehearse(plan, request) };
  } catch (error) {
    return { error: messageOf(error) };
  }
}

process.on("disconnect", () => process.exit(0));
process.on("message", (command) => {
  // Sent by planner-pool.ts only.
  void answer(command as PlannerCommand).then((reply) => {
    process.send?.(reply);
    // Everything is loaded. Node would write its compile cache at the end, and this process is killed then.
    if ("ready" in reply) flushCompileCache();
  });
});
