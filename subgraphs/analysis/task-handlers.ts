import type { GitHubClient } from "@toolyard/github";
import type { SubgraphParts } from "@toolyard/subgraph-host";
import type { TaskHandler } from "@toolyard/tasks";
import type { AnalysisProvider } from "./analysis-provider.ts";
import { jobInput } from "./analysis-job.ts";
import type { EvidenceReader } from "./evidence.ts";
import { describeRepository } from "./repository-description.ts";
import {
  feasibilityReportSchema,
  generatedConfigSchema,
  improvementReportSchema,
  withCheckedCitations,
  type FeasibilityReport,
  type GeneratedConfig,
  type ImprovementReport,
} from "./reports.ts";

/** Milliseconds that an analysis may take. */
const TIMEOUT_MS = 120_000;

/** How this subgraph's kinds of tasks are run. */
export function createTaskHandlers(options: {
  provider: AnalysisProvider;
  evidence: EvidenceReader;
  github: GitHubClient;
}): NonNullable<SubgraphParts["tasks"]> {
  const { provider, evidence: reader, github } = options;

  const feasibility: TaskHandler = async ({ input, signal, progress }): Promise<FeasibilityReport> => {
    const subject = jobInput.parse(input);
    progress(0.1, "Reading what is known");
    const evidence = await reader.gather(subject, signal);
    progress(0.6, "Judging");
    const report = feasibilityReportSchema.parse(await provider.feasibility(evidence, subject.requirements, signal));
    return { ...report, risks: withCheckedCitations(report.risks, evidence.documents) };
  };

  const improvements: TaskHandler = async ({ input, signal, progress }): Promise<ImprovementReport> => {
    progress(0.1, "Reading what is known");
    const evidence = await reader.gather(jobInput.parse(input), signal);
    const { tool } = evidence;
    if (!tool) throw new Error("An analysis of improvements was queued without a tool.");
    progress(0.6, "Judging");
    const report = improvementReportSchema.parse(await provider.improvements({ ...evidence, tool }, signal));
    return { ...report, suggestions: withCheckedCitations(report.suggestions, evidence.documents) };
  };

  const generateConfig: TaskHandler = async ({ input, signal, progress }): Promise<GeneratedConfig> => {
    const subject = jobInput.parse(input);
    progress(0.1, "Reading what is known");
    const { repository } = subject;
    const read = repository === null ? null : await describeRepository(github, repository, signal);
    const evidence = await reader.gather(read ? { ...subject, description: read.description } : subject, signal);
    progress(0.6, "Writing the configuration");
    const config = generatedConfigSchema.parse(await provider.generateConfig(evidence, signal));
    return read ? { ...config, explanation: `${read.source} ${config.explanation}` } : config;
  };

  return {
    FEASIBILITY: { handler: feasibility, timeoutMs: TIMEOUT_MS },
    IMPROVEMENTS: { handler: improvements, timeoutMs: TIMEOUT_MS },
    GENERATE_CONFIG: { handler: generateConfig, timeoutMs: TIMEOUT_MS },
  };
}
