import { LIMITS } from "@toolyard/launch/limits.ts";
import type { ReplicaSpec } from "../runtime.ts";

/** What one replica may use, all of it said. */
export interface Allowance {
  cpus: number | null;
  memoryMb: number;
  /** Processes and threads, where the kernel counts for us; processes where Toolyard does. */
  processes: number;
  diskMb: number;
}

/** Where a launch does not say. */
const DEFAULT_ALLOWANCE = {
  memoryMb: LIMITS.resources.memoryMb.whenNull,
  processes: LIMITS.resources.processes.whenNull,
  diskMb: LIMITS.resources.diskMb.whenNull,
};

export function allowanceOf({ cpus, memoryMb, processes, diskMb }: ReplicaSpec["resources"]): Allowance {
  return {
    cpus,
    memoryMb: memoryMb ?? DEFAULT_ALLOWANCE.memoryMb,
    processes: processes ?? DEFAULT_ALLOWANCE.processes,
    diskMb: diskMb ?? DEFAULT_ALLOWANCE.diskMb,
  };
}
