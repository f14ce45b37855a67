import { launchTypeOf, shownLaunchSchema, type LaunchKind } from "@toolyard/launch";
import { z } from "zod";

const SEVERITIES = ["CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO"] as const;
export type Severity = (typeof SEVERITIES)[number];

const citation = z.object({ documentId: z.string(), quote: z.string().min(1) });
const finding = z.object({
  title: z.string().min(1),
  detail: z.string(),
  severity: z.enum(SEVERITIES),
  location: z.string().nullable(),
  citations: z.array(citation),
});

/** Results of this subgraph's kinds, as stored on the task: JSON of the GraphQL types of these names. */
export const feasibilityReportSchema = z.object({
  feasible: z.boolean(),
  score: z.number().min(0).max(1),
  summary: z.string().min(1),
  risks: z.array(finding),
  requirements: z.array(z.string()),
  provider: z.string(),
});
export const improvementReportSchema = z.object({
  summary: z.string().min(1),
  suggestions: z.array(finding),
  provider: z.string(),
});
export const generatedConfigSchema = z.object({
  launch: shownLaunchSchema.nullable(),
  configSchema: z.record(z.string(), z.unknown()),
  explanation: z.string().min(1),
  warnings: z.array(z.string()),
  provider: z.string(),
});

export type Citation = z.infer<typeof citation>;
export type Finding = z.infer<typeof finding>;
export type FeasibilityReport = z.infer<typeof feasibilityReportSchema>;
export type ImprovementReport = z.infer<typeof improvementReportSchema>;
export type GeneratedConfig = z.infer<typeof generatedConfigSchema>;

/** The gravest first; those of one severity stay in order. */
export function bySeverity(findings: Finding[]): Finding[] {
  return findings.toSorted((a, b) => SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity));
}

/** The findings with only those citations whose quote occurs in a document that was read. */
export function withCheckedCitations(
  findings: Finding[],
  documents: readonly { id: string; content: string }[],
): Finding[] {
  const contentById = new Map(documents.map(({ id, content }) => [id, content]));
  return findings.map((finding) => ({
    ...finding,
    citations: finding.citations.filter(({ documentId, quote }) => contentById.get(documentId)?.includes(quote)),
  }));
}

/** The type of a stored result's launch. Those of earlier versions have the type's name in place of a kind. */
export function storedLaunchType(launch: object): ReturnType<typeof launchTypeOf> {
  // It was parsed when it was stored.
  const { kind, __typename } = launch as
    { kind?: never; __typename: ReturnType<typeof launchTypeOf> } | { kind: LaunchKind; __typename?: never };
  return kind === undefined ? __typename : launchTypeOf({ kind });
}
