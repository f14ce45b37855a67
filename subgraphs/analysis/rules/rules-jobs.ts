import type { Evidence, ToolEvidence } from "../evidence.ts";
import type { FeasibilityReport, GeneratedConfig, ImprovementReport } from "../reports.ts";

/** AnalysisProvider's methods, as the process of isolated-rules.ts runs them. */
export interface RulesJobs {
  feasibility(job: { evidence: Evidence; requirements: readonly string[] }): Promise<FeasibilityReport>;
  improvements(job: { evidence: Evidence & { tool: ToolEvidence } }): Promise<ImprovementReport>;
  generateConfig(job: { evidence: Evidence }): Promise<GeneratedConfig>;
}
