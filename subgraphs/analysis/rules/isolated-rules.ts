import { createJobProcesses } from "@toolyard/job-processes";
import type { Logger } from "@toolyard/service-kit";
import type { AnalysisProvider } from "../analysis-provider.ts";
import type { RulesJobs } from "./rules-jobs.ts";

/**
 * The rules, in processes of their own: they read texts that users wrote, documents of megabytes among them, by patterns and word by
 * word. One that takes too long is given up, and nobody else waits for it.
 */
export function createIsolatedRules(options: {
  logger: Logger;
  /** Aborts when Toolyard begins to stop. */
  signal?: AbortSignal | undefined;
}): AnalysisProvider & { close(): Promise<void> } {
  const processes = createJobProcesses<RulesJobs>({
    name: "analysis",
    // No one has a turn of their own: whose analysis it is, only the queue knows.
    processes: 3,
    module: new URL("./rules-worker.ts", import.meta.url),
    ...options,
  });
  return {
    name: "rules",
    feasibility: (evidence, requirements) => processes.run("feasibility", { evidence, requirements }, null),
    improvements: (evidence) => processes.run("improvements", { evidence }, null),
    generateConfig: (evidence) => processes.run("generateConfig", { evidence }, null),
    close: () => processes.close("now"),
  };
}
