import type { ReplicaSpec } from "../runtime.ts";

/** What one replica may use, all of it said. */
export interface Allowance {
  cpus: number | null;
  memoryMb: number;
  /** Processes and threads, where the kernel counts for us; processes where Toolyard does. */
  processes: number;
  diskMb: number;
}

/** Where a launch does not say. A browser, the greediest that servers start, needs about 1 GiB and 300 threads. */
export const DEFAULT_ALLOWANCE = { memoryMb: 4_096, processes: 1_024, diskMb: 4_096 } as const;

export function allowanceOf({ cpus, memoryMb, processes, diskMb }: ReplicaSpec["resources"]): Allowance {
  return {
    cpus,
    memoryMb: memoryMb ?? DEFAULT_ALLOWANCE.memoryMb,
    processes: processes ?? DEFAULT_ALLOWANCE.processes,
    diskMb: diskMb ?? DEFAULT_ALLOWANCE.diskMb,
  };
}
