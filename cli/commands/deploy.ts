import { BALANCES, type Balance } from "@toolyard/routes/balances.ts";
import { defineCommand, wholeNumber, type CommandContext, type Values } from "../command.ts";
import { followEvents, type DeploymentEvent } from "../events.ts";
import type { Graph } from "../graph.ts";
import { didYouMean } from "../did-you-mean.ts";
import { parseExactly } from "../json-text.ts";
import { DEPLOYMENT_FIELDS, type ListedDeployment } from "../tools.ts";
import { UsageError } from "../usage-error.ts";
import { lastLines } from "./logs.ts";

const DEFAULT_WAIT_SECONDS = 600;
const SHOWN_LINES = 10;
/** Fields of AutoscaleInput. */
const AUTOSCALE_BOUNDS: readonly string[] = ["min", "max", "targetConcurrentCalls", "idleSeconds"];

/** The options of all commands that deploy. */
export const deployOptions = {
  staging: { type: "boolean" },
  runtime: { type: "string" },
  replicas: { type: "string" },
  autoscale: { type: "string" },
  balance: { type: "string" },
  config: { type: "string" },
  timeout: { type: "string" },
  "no-wait": { type: "boolean" },
  json: { type: "boolean" },
} as const;
export const DEPLOY_USAGE =
  "[--staging] [--runtime KIND] [--replicas N] [--autoscale BOUND=N,…] [--balance HOW] [--config JSON] [--timeout SECONDS] [--no-wait] [--json]";
export const RUNTIME_HELP =
  "  --runtime KIND       Where its replicas run, as process, docker or kubernetes; the first that can run it unless given.";
export const DEPLOY_HELP = `  --staging            In staging, beside what runs in production.
${RUNTIME_HELP}
  --replicas N         How many, 1 unless given.
  --autoscale BOUND=N,…
                       As many as its calls need, as in min=0,max=3. Bounds are ${AUTOSCALE_BOUNDS.join(", ")}.
  --balance HOW        How replicas share calls: ${BALANCES.map(optionOf).join(", ")}; the first unless given.
  --config JSON        Values for its configSchema; - reads them from stdin, where nobody sees secrets.
  --timeout SECONDS    How long to wait, ${DEFAULT_WAIT_SECONDS} unless given. It goes on starting after that.
  --no-wait            Only ask for it.`;

/** The values as the input of a mutation that deploys, and how long to wait. @throws UsageError */
export async function deployInput(
  { terminal }: CommandContext,
  { staging, runtime, replicas: many, autoscale, balance, config, timeout }: Partial<Values<typeof deployOptions>>,
): Promise<{ input: object; seconds: number }> {
  const seconds = wholeNumber("--timeout", timeout) ?? DEFAULT_WAIT_SECONDS;
  const replicas = wholeNumber("--replicas", many);
  const text = config === "-" ? await terminal.readInput("The configuration") : config;
  const input = {
    ...(replicas !== null && { replicas }),
    ...(autoscale !== undefined && { autoscale: boundsOf(autoscale) }),
    ...(balance !== undefined && { balance: balanceOf(balance) }),
    ...(text !== undefined && { configuration: parseExactly(text, "The configuration is") }),
    ...(staging && { environment: "STAGING" }),
    // Which there are, the graph knows.
    ...(runtime !== undefined && { runtime: runtime.toUpperCase() }),
  };
  return { input, seconds };
}

/** @throws UsageError */
function boundsOf(text: string): Record<string, number | null> {
  return Object.fromEntries(
    text.split(",").map((bound) => {
      const [name = "", value = ""] = bound.split("=", 2);
      if (!AUTOSCALE_BOUNDS.includes(name))
        throw new UsageError(
          `--autoscale takes ${AUTOSCALE_BOUNDS.join(", ")}, as in min=0,max=3, not ${JSON.stringify(bound)}.${didYouMean(name, AUTOSCALE_BOUNDS)}`,
        );
      return [name, wholeNumber(`${name} of --autoscale`, value)];
    }),
  );
}

/** @throws UsageError */
function balanceOf(text: string): Balance {
  const found = BALANCES.find((balance) => optionOf(balance) === text.toLowerCase().replaceAll("_", "-"));
  if (found) return found;
  const names = BALANCES.map(optionOf);
  throw new UsageError(`--balance takes ${names.join(", ")}, not ${JSON.stringify(text)}.${didYouMean(text, names)}`);
}

/** As it is written on a command line. */
function optionOf(balance: Balance): string {
  return balance.toLowerCase().replaceAll("_", "-");
}

export const deploy = defineCommand({
  name: "deploy",
  summary: "Run a registered tool, and wait until it answers.",
  usage: `NAME [--version N] ${DEPLOY_USAGE}`,
  positionals: [1, 1],
  options: { version: { type: "string" }, ...deployOptions },
  help: `  --version N          The version; the newest unless given.
${DEPLOY_HELP}

Where it takes the place of one that runs, callers stay with that until the new one answers.`,
  async run(context, { positionals: [name = ""], values }) {
    const versionNumber = wholeNumber("--version", values.version);
    const { input, seconds } = await deployInput(context, values);
    const { deployTool: asked } = await context.graph.query<{ deployTool: ListedDeployment }>(
      `mutation ($input: DeployToolInput!) { deployTool(input: $input) { ${DEPLOYMENT_FIELDS} } }`,
      { input: { ...input, toolId: name, ...(versionNumber !== null && { versionNumber }) } },
    );
    return follow(context, name, asked, { ...values, seconds });
  },
});

/** Tells how a deployment that was asked for goes on, until it answers or does not. @param name Its tool's @returns the exit code */
export async function follow(
  context: CommandContext,
  name: string,
  asked: ListedDeployment,
  { seconds, ...values }: { seconds: number; "no-wait"?: boolean | undefined; json?: boolean | undefined },
): Promise<number> {
  const { graph, terminal, hint } = context;
  if (values["no-wait"]) {
    if (values.json) terminal.write(`${JSON.stringify(asked)}\n`);
    else terminal.print(`${asked.name} was asked for. See how it goes: ${hint(`watch ${name}`)}`);
    return 0;
  }
  const onEvent = ({ kind, message }: DeploymentEvent) => {
    // The following events say why it is stopped, too.
    if (kind !== "REPLICA_STOPPING") terminal.say(`  ${message}`);
  };
  const ended = await waitFor(context, asked, { until: ["RUNNING", "FAILED", "STOPPED"], seconds, onEvent });
  const { status, reason, mcpUrl } = ended ?? (await deploymentNow(graph, asked.id)) ?? asked;
  if (values.json) terminal.write(`${JSON.stringify({ ...asked, status, reason })}\n`);
  if (status === "RUNNING") {
    if (!values.json) terminal.print(`${name} answers at ${mcpUrl}\nWhat it can do: ${hint(`tools ${name}`)}`);
    return 0;
  }
  const what = ended ? `is ${status}` : `does not answer after ${seconds} s, and goes on starting`;
  terminal.say(`${asked.name} ${what}. ${reason ?? ""}`.trim());
  const lines = await lastLines(graph, asked.name, SHOWN_LINES);
  if (lines.length > 0) terminal.say(["", "Its last lines of output:", ...lines].join("\n"));
  terminal.say(`\nMore of them: ${hint(`logs ${asked.name}`)}`);
  return 1;
}

/**
 * A deployment once it has reached the requested state; null after `seconds` without that.
 * @throws GraphError when it cannot be seen any more
 */
export async function waitFor(
  { graph, signal }: Pick<CommandContext, "graph" | "signal">,
  deployment: { id: string },
  options: { until: readonly string[]; seconds: number; onEvent?: (event: DeploymentEvent) => void },
): Promise<ListedDeployment | null> {
  const { until, seconds, onEvent } = options;
  const timeout = AbortSignal.timeout(seconds * 1000);
  const stop = AbortSignal.any([signal, timeout]);
  // From the beginning: it may have been quicker than this asks.
  for await (const event of followEvents(graph, { deploymentId: deployment.id, after: "0" }, { signal: stop })) {
    onEvent?.(event);
    if (!until.includes(event.status)) continue;
    const now = await deploymentNow(graph, deployment.id);
    if (now && until.includes(now.status)) return now;
  }
  signal.throwIfAborted();
  return null;
}

async function deploymentNow(graph: Graph, id: string): Promise<ListedDeployment | null> {
  const query = `query ($id: ID) { deployment(id: $id) { ${DEPLOYMENT_FIELDS} } }`;
  return (await graph.query<{ deployment: ListedDeployment | null }>(query, { id })).deployment;
}
