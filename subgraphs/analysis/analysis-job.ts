import { z } from "zod";

/** The input of a task, as it is queued. */
export const jobInput = z.object({
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
