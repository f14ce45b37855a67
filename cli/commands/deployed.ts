import { defineCommand } from "../command.ts";
import { allTools, deploymentsOf, findDeployment, findRunning, findTool, isLive } from "../tools.ts";
import { GraphError } from "../graph.ts";
import { table } from "../terminal.ts";
import { waitFor } from "./deploy.ts";

const STOP_SECONDS = 120;

export const list = defineCommand({
  name: "list",
  summary: "Print the registered tools and the state of their deployments.",
  usage: "[NAME] [--json]",
  positionals: [0, 1],
  options: { json: { type: "boolean" } },
  help: "  NAME      Only this tool, with all its deployments.\n  --json    All of it as JSON.",
  async run({ graph, terminal, hint }, { positionals: [name], values }) {
    const tools = name === undefined ? await allTools(graph) : [await findTool(graph, name)];
    if (values.json) {
      const flat = tools.map(({ deployments, ...tool }) => ({
        ...tool,
        deployments: deploymentsOf({ ...tool, deployments }),
      }));
      terminal.write(`${JSON.stringify(flat, null, 2)}\n`);
      return;
    }
    if (tools.length === 0) {
      terminal.print(`No tool is registered yet. Register one: ${hint("register NAME -- COMMAND …")}`);
      return;
    }
    const rows = tools.flatMap((tool) => {
      const all = deploymentsOf(tool);
      const running = all.filter(isLive);
      const shown = name !== undefined ? all : running.length > 0 ? running : all.slice(0, 1);
      if (shown.length === 0) return [[tool.slug, "-", "", "not deployed", "", ""]];
      return shown.map((each) => [
        tool.slug,
        each.name,
        // As `--runtime` takes it.
        each.runtime.toLowerCase(),
        isLive(each) ? `${each.status}/${each.health}` : each.status,
        isLive(each) ? each.mcpUrl : "",
        (each.reason ?? "").replaceAll(/\s+/g, " "),
      ]);
    });
    terminal.print(table([["TOOL", "DEPLOYMENT", "RUNTIME", "STATUS", "MCP URL", "REASON"], ...rows]));
  },
});

export const stop = defineCommand({
  name: "stop",
  summary: "Stop a tool's deployments, and wait until nothing is left of them.",
  usage: "NAME",
  positionals: [1, 1],
  options: {},
  help: "  NAME    A tool, all of whose deployments stop, or one deployment.",
  async run(context, { positionals: [name = ""] }) {
    const { graph, terminal } = context;
    const running = await findRunning(graph, name);
    if (running.length === 0) terminal.print(`Nothing of ${name} runs.`);
    for (const deployment of running) {
      await graph.query("mutation ($id: ID) { stopDeployment(id: $id) { id } }", { id: deployment.id });
    }
    for (const deployment of running) {
      const ended = await waitFor(context, deployment, { until: ["STOPPED", "FAILED"], seconds: STOP_SECONDS });
      if (!ended) throw new GraphError("TIMEOUT", `Something of ${deployment.name} is left after ${STOP_SECONDS} s.`);
      terminal.print(`${deployment.name} is stopped.`);
    }
  },
});

export const restart = defineCommand({
  name: "restart",
  summary: "Start a deployed tool anew, as after a change of its file.",
  usage: "NAME",
  positionals: [1, 1],
  options: {},
  help: "  NAME    A tool, whose running or newest deployment is taken, or a deployment.",
  async run(context, { positionals: [name = ""] }) {
    const { graph, terminal, hint } = context;
    const deployment = await findDeployment(context, name);
    await graph.query("mutation ($id: ID!) { restartDeployment(id: $id) { id } }", { id: deployment.id });
    terminal.print(`${deployment.name} is started anew. See how it goes: ${hint("list")}`);
  },
});

export const remove = defineCommand({
  name: "delete",
  summary: "Delete a tool and stop its deployments.",
  usage: "NAME",
  positionals: [1, 1],
  options: {},
  help: "Its name stays taken; `restore` undoes the deletion.",
  async run({ graph, terminal }, { positionals: [name = ""] }) {
    await graph.query("mutation ($id: ID!) { deleteTool(id: $id) { id } }", { id: name });
    terminal.print(`${name} is deleted.`);
  },
});

export const restore = defineCommand({
  name: "restore",
  summary: "Restore a deleted tool.",
  usage: "NAME",
  positionals: [1, 1],
  options: {},
  help: "It is registered as it was, and not deployed.",
  async run({ graph, terminal, hint }, { positionals: [name = ""] }) {
    await graph.query("mutation ($id: ID!) { restoreTool(id: $id) { id } }", { id: name });
    terminal.print(`${name} is back. Run it: ${hint(`deploy ${name}`)}`);
  },
});
