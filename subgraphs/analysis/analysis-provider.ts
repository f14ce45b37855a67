import type { Evidence, ToolEvidence } from "./evidence.ts";
import type { FeasibilityReport, GeneratedConfig, ImprovementReport } from "./reports.ts";

/**
 * Who judges the evidence: rules without a key or a network, or a model. All answer in the same shape, which the caller checks, as it
 * checks that quotes occur in the documents. Throws ToolyardError: what may pass (TIMEOUT, UPSTREAM_UNAVAILABLE, RATE_LIMITED) is
 * tried again.
 */
export interface AnalysisProvider {
  /** As in the reports' `provider`. */
  readonly name: string;
  /** Whether the tool, or the described one, meets the requirements and can be run safely. */
  feasibility(evidence: Evidence, requirements: readonly string[], signal: AbortSignal): Promise<FeasibilityReport>;
  improvements(evidence: Evidence & { tool: ToolEvidence }, signal: AbortSignal): Promise<ImprovementReport>;
  /** How to launch what the evidence is about, and which configuration it takes. */
  generateConfig(evidence: Evidence, signal: AbortSignal): Promise<GeneratedConfig>;
}
