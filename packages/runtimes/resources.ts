import { LIMITS } from "@toolyard/launch/limits.ts";
import type { ReplicaSpec } from "./runtime.ts";

/** The resources that one replica may use, complete. */
export interface Allowance {
  cpus: number | null;
  memoryMb: number;
  /** Processes and threads, where the kernel counts for us; processes where Toolyard does. */
  processes: number;
  diskMb: number;
}

/** For limits that a launch leaves out. */
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
