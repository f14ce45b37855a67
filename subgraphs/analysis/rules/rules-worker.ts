/** The jobs of isolated-rules.ts: see JobProcesses. */
import { serveJobs } from "@toolyard/job-processes/serve-jobs.ts";
import type { RulesJobs } from "./rules-jobs.ts";
import { createRulesProvider } from "./rules-provider.ts";

const rules = createRulesProvider();
// The process is killed instead.
const { signal } = new AbortController();
serveJobs<RulesJobs>({
  feasibility: ({ evidence, requirements }) => rules.feasibility(evidence, requirements, signal),
  improvements: ({ evidence }) => rules.improvements(evidence, signal),
  generateConfig: ({ evidence }) => rules.generateConfig(evidence, signal),
});
