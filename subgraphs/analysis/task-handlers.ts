import type { Logger } from "@toolyard/service-kit";
import type { TaskHandler, TaskQueue, TaskWorker } from "@toolyard/tasks";
import { z } from "zod";
import type { AnalysisProvider } from "./analysis-provider.ts";
import { repositoriesUnsupported } from "./analysis-service.ts";
import type { EvidenceReader } from "./evidence.ts";
import {
  feasibilityReportSchema,
  generatedConfigSchema,
  improvementReportSchema,
  withCheckedCitations,
  type FeasibilityReport,
  type GeneratedConfig,
  type ImprovementReport,
} from "./reports.ts";

const jobInput = z.object({
  toolId: z.string().nullable(),
  description: z.string().nullable(),
  repository: z.string().nullable(),
  requirements: z.array(z.string()),
  plainVariables: z.array(z.string()),
  placeholderVariables: z.array(z.string()),
});

export interface AnalysisJob {
  kind: "FEASIBILITY" | "IMPROVEMENTS" | "GENERATE_CONFIG";
  input: z.infer<typeof jobInput>;
}

/** Milliseconds that an analysis may take. */
const TIMEOUT_MS = 120_000;

/** Runs this subgraph's kinds of tasks in this process. */
export function startAnalysisWorkers(options: {
  tasks: TaskQueue;
  provider: AnalysisProvider;
  evidence: EvidenceReader;
  logger: Logger;
}): TaskWorker[] {
  const { tasks, provider, evidence: reader, logger } = options;

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
    if (subject.repository !== null) throw repositoriesUnsupported();
    progress(0.1, "Reading what is known");
    const evidence = await reader.gather(subject, signal);
    progress(0.6, "Writing the configuration");
    return generatedConfigSchema.parse(await provider.generateConfig(evidence, signal));
  };

  logger.debug({ provider: provider.name }, "analyses are run here");
  return [
    tasks.register("FEASIBILITY", feasibility, { timeoutMs: TIMEOUT_MS }),
    tasks.register("IMPROVEMENTS", improvements, { timeoutMs: TIMEOUT_MS }),
    tasks.register("GENERATE_CONFIG", generateConfig, { timeoutMs: TIMEOUT_MS }),
  ];
}
