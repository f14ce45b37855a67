import { ToolyardError, type Caller, type ToolShares } from "@toolyard/service-kit";
import type { Deployment } from "./deployment.ts";

/**
 * Who may see how a deployment runs inside, its logs and what its server says of itself: administrators, the tool's author, and those it is
 * shared with.
 */
export interface Inspection {
  /** False also where shares cannot be read: such words are left out of an answer, which is not lost for that. */
  mayInspect(caller: Caller, deployment: Pick<Deployment, "ownerId" | "toolId">): Promise<boolean>;
}

export function createInspection(shares: ToolShares): Inspection {
  return {
    mayInspect: (caller, deployment) =>
      shares.can(caller, "deployment:inspect", deployment).catch((error: unknown) => {
        if (error instanceof ToolyardError) return false;
        throw error;
      }),
  };
}
