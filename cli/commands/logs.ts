import { defineCommand, wholeNumber } from "../command.ts";
import { GraphError, type Graph } from "../graph.ts";
import { findDeployment } from "../tools.ts";

interface LogLine {
  at: string;
  stream: string;
  text: string;
  replicaId: string;
}

const LINE = "at stream text replicaId";

export const logs = defineCommand({
  name: "logs",
  summary: "Print what a deployed tool has printed.",
  usage: "NAME [--last N] [--follow] [--json]",
  positionals: [1, 1],
  options: { last: { type: "string" }, follow: { type: "boolean", short: "f" }, json: { type: "boolean" } },
  help: `  NAME         A tool, whose running or newest deployment is taken, or a deployment.
  --last N     How many lines, 20 unless given, at most 1000.
  --follow     Then those that come, until Ctrl-C.
  --json       A line of JSON for each.`,
  async run({ graph, terminal, signal, hint }, { positionals: [name = ""], values }) {
    const last = wholeNumber("--last", values.last) ?? 20;
    const deployment = await findDeployment({ graph, hint }, name);
    const show = (line: LogLine) =>
      values.json ? terminal.write(`${JSON.stringify(line)}\n`) : terminal.print(shown(line));
    const lines = await linesOf(graph, deployment.name, last);
    lines.forEach(show);
    if (lines.length === 0 && !values.json)
      terminal.say(`${deployment.name} (${deployment.status}) has no output that is still kept.`);
    if (!values.follow) return;
    const stream = graph.subscribe<{ deploymentLogs: LogLine }>(
      `subscription ($id: ID!) { deploymentLogs(deploymentId: $id) { ${LINE} } }`,
      { id: deployment.id },
      signal,
    );
    for await (const { deploymentLogs } of stream) show(deploymentLogs);
    if (!signal.aborted) throw new GraphError("STREAM_ENDED", `${deployment.name} prints no more.`);
  },
});

/** The newest lines, as `logs` shows them; none where the caller may not see them. */
export async function lastLines(graph: Graph, deployment: string, last: number): Promise<string[]> {
  try {
    return (await linesOf(graph, deployment, last)).map(shown);
  } catch (error) {
    if (error instanceof GraphError && error.code === "FORBIDDEN") return [];
    throw error;
  }
}

async function linesOf(graph: Graph, name: string, last: number): Promise<LogLine[]> {
  const { deployment } = await graph.query<{ deployment: { logs: LogLine[] } | null }>(
    `query ($name: String!, $last: Int!) { deployment(name: $name) { logs(last: $last) { ${LINE} } } }`,
    { name, last },
  );
  return deployment?.logs ?? [];
}

function shown({ at, stream, text }: LogLine): string {
  return `${at}  ${stream.toLowerCase()}  ${text}`;
}
