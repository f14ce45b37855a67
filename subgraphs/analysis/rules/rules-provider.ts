import type { AnalysisProvider } from "../analysis-provider.ts";
import type { Evidence, ToolEvidence } from "../evidence.ts";
import { variablesOf, type ShownLaunch } from "@toolyard/launch";
import { bySeverity, type FeasibilityReport, type Finding, type ImprovementReport, type Severity } from "../reports.ts";
import { deploymentFindings, upkeepFindings, usageFindings } from "./deployment-rules.ts";
import { generateConfig, suggestLaunch } from "./generate-config.ts";
import { finding, launchRisks, schemaOf } from "./launch-rules.ts";
import { packageOf, programName } from "./package-reference.ts";
import { matchRequirements, type RequirementMatch } from "./requirement-match.ts";

const NAME = "rules";
/** The points that one finding costs; together at most MAX_PENALTY. */
const PENALTY: Record<Severity, number> = { CRITICAL: 0.5, HIGH: 0.15, MEDIUM: 0.05, LOW: 0.02, INFO: 0 };
const MAX_PENALTY = 0.7;
const FEASIBLE = 0.5;
/** How well a description without requirements fits, with and without a launch that could be made out. */
const FIT_WITH_LAUNCH = 0.9;
const FIT_WITHOUT_LAUNCH = 0.6;

/** Judges by fixed rules: no key, no network, the same answer for the same evidence. */
export function createRulesProvider(): AnalysisProvider {
  return {
    name: NAME,
    feasibility: async (evidence, requirements) => feasibility(evidence, requirements),
    improvements: async (evidence) => improvements(evidence),
    generateConfig: async (evidence) => ({ ...generateConfig(evidence), provider: NAME }),
  };
}

function feasibility(evidence: Evidence, requirements: readonly string[]): FeasibilityReport {
  const { tool } = evidence;
  const matches = matchRequirements(requirements, evidence);
  const launch = tool ? tool.launch : suggestLaunch(evidence.description).launch;
  const ownRisks = tool
    ? [...launchRisks({ ...evidence, tool }), ...deploymentFindings(evidence), ...documentationRisk(evidence)]
    : descriptionRisks(launch);
  const fit =
    matches.length > 0 ? mean(matches.map((match) => match.coverage)) : launch ? FIT_WITH_LAUNCH : FIT_WITHOUT_LAUNCH;
  const penalty = Math.min(
    MAX_PENALTY,
    ownRisks.reduce((sum, { severity }) => sum + PENALTY[severity], 0),
  );
  const score = Math.round(fit * (1 - penalty) * 100) / 100;
  const feasible = score >= FEASIBLE && !ownRisks.some(({ severity }) => severity === "CRITICAL");
  return {
    feasible,
    score,
    summary: feasibilitySummary(evidence, matches, ownRisks, feasible),
    risks: bySeverity([...ownRisks, ...matches.map(requirementFinding)]),
    requirements: [...requirements, ...prerequisites(launch, tool)],
    provider: NAME,
  };
}

function documentationRisk({ documents, missing }: Evidence): Finding[] {
  if (documents.length > 0 || missing.includes("documents")) return [];
  return [
    finding(
      "LOW",
      "No documentation",
      "No document in the knowledge base belongs to this tool, so nothing backs its description.",
      "documents",
    ),
  ];
}

function descriptionRisks(launch: ShownLaunch | null): Finding[] {
  if (launch) return [];
  return [
    finding(
      "MEDIUM",
      "No way to launch it is named",
      "The description names no package, image, command or address. Say what would run, as in `npx -y package`, `uvx package`, an image, or a URL.",
      "description",
    ),
  ];
}

function requirementFinding({ requirement, verdict, coverage, citations }: RequirementMatch): Finding {
  const share = `${Math.round(coverage * 100)} % of its words are covered`;
  const titles = { met: "Covered", partly: "Partly covered", unmet: "Not covered" } as const;
  const severities = { met: "INFO", partly: "MEDIUM", unmet: "HIGH" } as const;
  const details = {
    met: `Description or documents speak of it (${share}).`,
    partly: `Description and documents speak of some of it (${share}). Ask the author, or try it.`,
    unmet: `Neither description nor documents speak of it (${share}).`,
  };
  return {
    severity: severities[verdict],
    title: `${titles[verdict]}: ${requirement}`,
    detail: details[verdict],
    location: null,
    citations,
  };
}

/** The prerequisites of the launch. */
function prerequisites(launch: ShownLaunch | null, tool: ToolEvidence | null): string[] {
  if (!launch) return [];
  const needed: string[] = [];
  if (launch.kind === "image") needed.push(`A container runtime that can pull ${launch.image}`);
  else if (launch.kind === "remote") needed.push(`A network path to ${URL.parse(launch.url)?.host ?? launch.url}`);
  else {
    needed.push(`${programName(launch.command)} on the host`);
    const reference = packageOf(launch.command, launch.args);
    if (reference) needed.push(`${reference.name} from ${reference.registry}, or a cache of it`);
  }
  for (const { name, secret } of variablesOf(launch)) if (secret) needed.push(`A value for ${name}`);
  for (const key of schemaOf(tool?.configSchema).required) needed.push(`The configuration ${key}`);
  return needed;
}

function feasibilitySummary(
  evidence: Evidence,
  matches: RequirementMatch[],
  risks: Finding[],
  feasible: boolean,
): string {
  const subject = evidence.tool ? evidence.tool.name : "What is described";
  const grave = risks.filter(({ severity }) => severity === "CRITICAL" || severity === "HIGH").length;
  const met = matches.filter(({ verdict }) => verdict === "met").length;
  return [
    `${subject} ${feasible ? "is feasible" : "is not feasible as it stands"}.`,
    matches.length > 0 ? `${met} of ${matches.length} requirements are covered by ${sources(evidence)}.` : "",
    grave > 0 ? `${grave} grave ${grave === 1 ? "risk" : "risks"} to see to first.` : "No grave risk was found.",
    gaps(evidence),
    "Judged by rules over words, not by meaning.",
  ]
    .filter((sentence) => sentence !== "")
    .join(" ");
}

function sources({ documents }: Evidence): string {
  return documents.length === 0
    ? "the description"
    : `the description and ${documents.length} ${documents.length === 1 ? "document" : "documents"}`;
}

function gaps({ missing }: Evidence): string {
  return missing.length === 0 ? "" : `Not read, since it did not answer: ${missing.join(", ")}.`;
}

function improvements(evidence: Evidence & { tool: ToolEvidence }): ImprovementReport {
  const suggestions = bySeverity([
    ...deploymentFindings(evidence),
    ...usageFindings(evidence),
    ...launchRisks(evidence),
    ...upkeepFindings(evidence),
  ]);
  const [first] = suggestions;
  const count = `${suggestions.length} ${suggestions.length === 1 ? "suggestion" : "suggestions"} for ${evidence.tool.name}`;
  const summary =
    first === undefined ? `Nothing to suggest for ${evidence.tool.name}.` : `${count}; first: ${first.title}.`;
  return { summary: [summary, gaps(evidence)].filter((part) => part !== "").join(" "), suggestions, provider: NAME };
}

function mean(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
