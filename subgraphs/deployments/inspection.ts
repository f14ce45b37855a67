import type { Caller } from "@toolyard/service-kit";
import type { Deployment } from "./deployment.ts";

type Inspected = Pick<Deployment, "ownerId" | "deployedById">;

/** Whether the caller may see how a deployment runs inside: administrators, the tool's author, and the user who deployed it. */
export function mayInspect(caller: Caller, { ownerId, deployedById }: Inspected): boolean {
  return [deployedById, ownerId].some((id) => caller.can("deployment:inspect", { ownerId: id }));
}

/** @throws ToolyardError FORBIDDEN or UNAUTHENTICATED unless `mayInspect`. */
export function requireInspect(caller: Caller, deployment: Inspected, action: string): void {
  if (!mayInspect(caller, deployment)) caller.require("deployment:inspect", { ownerId: deployment.ownerId }, action);
}
