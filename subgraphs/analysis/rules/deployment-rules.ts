import type { DeploymentEvidence, Evidence, ToolEvidence, UsageEvidence } from "../evidence.ts";
import type { Finding } from "../reports.ts";
import { finding } from "./launch-rules.ts";

/** Fewer calls than these say nothing about rates and percentiles. */
const MIN_CALLS = 20;
const HIGH_ERROR_RATE = 0.2;
const ERROR_RATE = 0.05;
const SLOW_P95_MS = 2_000;
const MANY_RESTARTS = 3;
const CALLS_FOR_TWO_REPLICAS = 1_000;

const percent = (share: number) => `${Math.round(share * 1_000) / 10} %`;
const isActive = ({ status }: DeploymentEvidence) => status === "STARTING" || status === "RUNNING";

/** The problems of the tool's deployments as they run now. */
export function deploymentFindings({ deployments }: Evidence): Finding[] {
  const active = deployments.filter(isActive);
  const latest = deployments[0];
  const failed = latest?.status === "FAILED" ? [latest] : [];
  return [...failed, ...active].flatMap((deployment) => {
    const { name, status, health, reason, replicas } = deployment;
    const where = `deployment ${name}`;
    const why = reason === null ? "" : ` ${reason}`;
    const found: Finding[] = [];
    if (status === "FAILED")
      found.push(finding("HIGH", `${name} has failed`, `The newest deployment does not run.${why}`, where));
    else if (health === "UNHEALTHY")
      found.push(finding("HIGH", `${name} is unhealthy`, `It does not pass its health checks.${why}`, where));
    else if (health === "DEGRADED")
      found.push(finding("MEDIUM", `${name} is degraded`, `Some of its replicas do not serve.${why}`, where));
    const restarts = replicas.reduce((sum, replica) => sum + replica.restarts, 0);
    if (restarts >= MANY_RESTARTS)
      found.push(
        finding(
          "MEDIUM",
          `${name} restarts often`,
          `Its replicas were restarted ${restarts} times: look at its logs for what ends them.`,
          where,
        ),
      );
    return found;
  });
}

/** Findings from a week of calls. */
export function usageFindings(evidence: Evidence & { tool: ToolEvidence }): Finding[] {
  const { usage, tool, deployments } = evidence;
  const active = deployments.filter(isActive);
  if (!usage) return [];
  if (usage.calls === 0)
    return active.length === 0
      ? []
      : [
          finding(
            "LOW",
            "Nobody calls it",
            "It runs, but had no call in a week. Stop it, or scale it to zero while idle.",
            "usage",
          ),
        ];
  if (usage.calls < MIN_CALLS) return [];
  return [...errorFindings(usage), ...latencyFindings(usage, tool), ...capacityFindings(usage, active)];
}

function errorFindings(usage: UsageEvidence): Finding[] {
  const found: Finding[] = [];
  if (usage.errorRate >= ERROR_RATE)
    found.push(
      finding(
        usage.errorRate >= HIGH_ERROR_RATE ? "HIGH" : "MEDIUM",
        "Many calls fail",
        `${percent(usage.errorRate)} of ${usage.calls} calls in a week failed (${usage.errors}).`,
        "usage.errorRate",
      ),
    );
  for (const { mcpTool, calls, errors } of usage.byMcpTool) {
    if (calls >= MIN_CALLS && errors / calls >= ERROR_RATE && errors / calls > usage.errorRate)
      found.push(
        finding(
          "MEDIUM",
          `${mcpTool} fails more than the rest`,
          `${percent(errors / calls)} of its ${calls} calls in a week failed.`,
          `mcp tool ${mcpTool}`,
        ),
      );
  }
  return found;
}

function latencyFindings(usage: UsageEvidence, tool: ToolEvidence): Finding[] {
  const { p95Ms, byMcpTool } = usage;
  const { timeoutSeconds } = tool.launch.options;
  const found: Finding[] = [];
  if (p95Ms !== null && p95Ms >= timeoutSeconds * 800)
    found.push(
      finding(
        "HIGH",
        "Calls come close to the time limit",
        `One in twenty takes ${Math.round(p95Ms)} ms or more; the limit is ${timeoutSeconds} s.`,
        "launch.options.timeoutSeconds",
      ),
    );
  else if (p95Ms !== null && p95Ms >= SLOW_P95_MS)
    found.push(
      finding(
        "MEDIUM",
        "Calls are slow",
        `One in twenty takes ${Math.round(p95Ms)} ms or more. Look for what the server waits for, and cache what it asks again and again.`,
        "usage.p95Ms",
      ),
    );
  for (const { mcpTool, calls, p95Ms: slow } of byMcpTool) {
    if (calls >= MIN_CALLS && slow !== null && slow >= SLOW_P95_MS && slow > 2 * (p95Ms ?? 0))
      found.push(
        finding(
          "LOW",
          `${mcpTool} is slow`,
          `One in twenty of its calls takes ${Math.round(slow)} ms or more.`,
          `mcp tool ${mcpTool}`,
        ),
      );
  }
  return found;
}

function capacityFindings(usage: UsageEvidence, active: DeploymentEvidence[]): Finding[] {
  return active
    .filter(({ environment, desiredReplicas }) => environment === "PRODUCTION" && desiredReplicas === 1)
    .filter(() => usage.calls >= CALLS_FOR_TWO_REPLICAS)
    .map(({ name }) =>
      finding(
        "MEDIUM",
        `${name} has one replica`,
        `With ${usage.calls} calls in a week, a restart interrupts users. Two replicas keep serving.`,
        `deployment ${name}`,
      ),
    );
}

/** Suggestions, besides problems, that would make the tool easier to find and to run. */
export function upkeepFindings({
  tool,
  deployments,
  documents,
  missing,
}: Evidence & { tool: ToolEvidence }): Finding[] {
  const found: Finding[] = [];
  if (tool.description.trim().length < 40)
    found.push(
      finding(
        "LOW",
        "The description is short",
        "People and assistants choose tools by it. Say what the tool does, for whom, and what it needs.",
        "description",
      ),
    );
  if (tool.tags.length === 0)
    found.push(finding("INFO", "No tags", "Tags make the tool findable beside others of its kind.", "tags"));
  if (documents.length === 0 && !missing.includes("documents"))
    found.push(
      finding(
        "LOW",
        "No documentation",
        "No document in the knowledge base belongs to this tool. Upload its README: analyses cite it.",
        "documents",
      ),
    );
  const active = deployments.filter(isActive);
  if (deployments.length === 0 && !missing.includes("deployments"))
    found.push(
      finding("INFO", "Never deployed", "Deploy it to staging: health and usage then show how it does.", "deployments"),
    );
  for (const { name, digest } of active) {
    if (digest !== tool.currentVersion.digest)
      found.push(
        finding(
          "LOW",
          `${name} runs an older version`,
          `The tool's current version is ${tool.currentVersion.number}. Deploy it, or revert the tool.`,
          `deployment ${name}`,
        ),
      );
  }
  return found;
}
