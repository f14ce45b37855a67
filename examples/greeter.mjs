/** A first MCP server. Run it by Toolyard: `npm run toolyard -- register greeter -- node examples/greeter.mjs`. */
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import { z } from "zod";

const server = new McpServer({ name: "greeter", version: "1.0.0" });

server.registerTool(
  "greet",
  { description: "Greets somebody.", inputSchema: { who: z.string().describe("Whom to greet") } },
  ({ who }) => ({ content: [{ type: "text", text: `Hello, ${who}!` }] }),
);

// stdout is for MCP alone; what is printed on stderr is in the logs.
process.stderr.write("The greeter has started.\n");
await server.connect(new StdioServerTransport());
