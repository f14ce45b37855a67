import { defineCommand } from "../command.ts";
import { GraphError } from "../graph.ts";
import { findTool } from "../tools.ts";

export const connect = defineCommand({
  name: "connect",
  summary: "Print what an MCP client needs for a deployed tool, with an API key of its own.",
  usage: "NAME [--key-name NAME]",
  positionals: [1, 1],
  options: { "key-name": { type: "string" } },
  help: `  --key-name NAME    What the key is called in the list of keys; "MCP client for NAME" unless given.

The key may only call this tool. It is shown this once.`,
  async run({ graph, terminal, hint }, { positionals: [name = ""], values }) {
    const { id, mcpUrl } = await findTool(graph, name);
    if (mcpUrl === null)
      throw new GraphError("NOT_FOUND", `${name} is not deployed. Deploy it: ${hint(`deploy ${name}`)}`);
    const { createApiKey } = await graph.query<{ createApiKey: { secret: string } }>(
      "mutation ($input: CreateApiKeyInput!) { createApiKey(input: $input) { secret } }",
      { input: { name: values["key-name"] ?? `MCP client for ${name}`, scopes: ["INVOKE"], toolIds: [id] } },
    );
    const server = { type: "http", url: mcpUrl, headers: { Authorization: `Bearer ${createApiKey.secret}` } };
    terminal.write(`${JSON.stringify({ mcpServers: { [name]: server } }, null, 2)}\n`);
  },
});
