import { messageOf } from "@toolyard/service-kit/errors/errors.ts";
import { defineCommand } from "../command.ts";
import { findDeployment, isLive, type ListedDeployment } from "../tools.ts";
import { connectedTo } from "./call.ts";

export const test = defineCommand({
  name: "test",
  summary: "Ask a deployment for its MCP tools as any client would, and say what is wrong.",
  usage: "NAME",
  positionals: [1, 1],
  options: {},
  help: "  NAME    A deployment, or a tool, whose running or newest deployment is taken.\n\nEnds with 1 where it does not answer as it should.",
  async run(context, { positionals: [name = ""] }) {
    const { terminal, hint } = context;
    const deployment = await findDeployment(context, name);
    terminal.print(stateOf(deployment));
    if (!isLive(deployment)) {
      terminal.say(`It does not run. Start it: ${hint(`restart ${deployment.name}`)}`);
      return 1;
    }
    const begun = performance.now();
    try {
      const { tools } = await connectedTo(context, deployment.mcpUrl, (client) => client.listTools());
      const names = tools.map((tool) => tool.name).join(", ");
      const took = Math.round(performance.now() - begun);
      terminal.print(`${deployment.mcpUrl} lists ${tools.length} tools within ${took} ms${names && `: ${names}`}`);
      return 0;
    } catch (error) {
      terminal.say(`${deployment.mcpUrl} does not list its tools: ${messageOf(error)}`);
      // It may be known by now why.
      terminal.say(stateOf(await findDeployment(context, name)));
      terminal.say(`What it printed: ${hint(`logs ${deployment.name}`)}`);
      return 1;
    }
  },
});

function stateOf({ name, status, health, reason }: ListedDeployment): string {
  return `${name} is ${status} and ${health}.${reason === null ? "" : ` ${reason}`}`;
}
