import { defineCommand } from "../command.ts";
import { GraphError } from "../graph.ts";
import { followEvents } from "../events.ts";

export const watch = defineCommand({
  name: "watch",
  summary: "Print what happens to deployments, as it happens, until Ctrl-C.",
  usage: "[NAME] [--after SEQUENCE] [--json]",
  positionals: [0, 1],
  options: { after: { type: "string" }, json: { type: "boolean" } },
  help: `  NAME                Only this tool's.
  --after SEQUENCE    First what came after this event; 0: all there is.
  --json              A line of JSON for each.`,
  async run({ graph, terminal, signal, url, hint }, { positionals: [name], values }) {
    const filter = {
      ...(name !== undefined && { toolId: name }),
      after: values.after ?? null,
    };
    const again = (after: string | null) => hint(`watch${name ? ` ${name}` : ""}${after ? ` --after ${after}` : ""}`);
    let last: string | null = filter.after;
    if (!values.json) terminal.say(`Watching ${url} …`);
    try {
      const onBreak = (reason: string) => terminal.say(`The stream broke (${reason}); trying again.`);
      for await (const event of followEvents(graph, filter, { signal, onBreak })) {
        last = event.sequence;
        if (values.json) terminal.write(`${JSON.stringify(event)}\n`);
        else {
          const { at, sequence, deployment, status, health, kind, message } = event;
          terminal.print(`${at}  #${sequence}  ${deployment?.name ?? "?"}  ${status}/${health}  ${kind}: ${message}`);
        }
      }
    } catch (error) {
      const broke = error instanceof GraphError && ["STREAM_ENDED", "UNREACHABLE"].includes(error.code);
      if (broke) terminal.say(`Go on later with: ${again(last)}`);
      throw error;
    }
  },
});
