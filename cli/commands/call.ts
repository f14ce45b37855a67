import { Client, StreamableHTTPClientTransport, type CallToolResult, type Tool } from "@modelcontextprotocol/client";
import { messageOf } from "@toolyard/service-kit/errors/errors.ts";
import { Ajv2020 } from "ajv/dist/2020.js";
import { z } from "zod";
import { isObject } from "@toolyard/service-kit/json.ts";
import { didYouMean } from "../did-you-mean.ts";
import { defineCommand, type CommandContext } from "../command.ts";
import { parseExactly } from "../json-text.ts";
import { GraphError, isUnavailable } from "../graph.ts";
import { mcpFailure } from "../mcp-failure.ts";
import { deploymentsOf, findTool } from "../tools.ts";
import { UsageError } from "../usage-error.ts";

/** The launch's own limit is the one that counts. */
const LONGEST_CALL_MS = 3_600_000;

export const tools = defineCommand({
  name: "tools",
  summary: "Print the MCP tools of a deployed tool.",
  usage: "NAME [--json]",
  positionals: [1, 1],
  options: { json: { type: "boolean" } },
  help: "  --json    The server's own JSON.",
  run: (context, { positionals: [name = ""], values }) =>
    connected(context, name, async (client) => {
      const found = (await client.listTools()).tools;
      if (values.json) context.terminal.write(`${JSON.stringify(found, null, 2)}\n`);
      else context.terminal.print(found.length === 0 ? `${name} has no tools.` : found.map(described).join("\n"));
      return 0;
    }),
});

export const call = defineCommand({
  name: "call",
  summary: "Call a deployed tool; given its name alone, print its MCP tools.",
  usage: "NAME [TOOL [ARGUMENTS]] [--json]",
  positionals: [1, 3],
  options: { json: { type: "boolean" } },
  help: `  NAME         The registered tool.
  TOOL         What to call of it.
  ARGUMENTS    A JSON object, as in '{"who":"me"}'; - reads it from stdin. {} unless given.
  --json       The whole result, as the server gave it.

Ends with 1 where the server says that the call failed (isError).`,
  run(context, { positionals: [name = "", toolName, text], values }) {
    const { terminal, hint, signal } = context;
    if (toolName === undefined) return tools.run(context, { positionals: [name], values, rest: null });
    return connected(context, name, async (client, mcpUrl) => {
      const args = argumentsOf(text === "-" ? await terminal.readInput("The arguments") : (text ?? "{}"));
      const { tools: known } = await client.listTools();
      const tool = known.find((each) => each.name === toolName);
      if (!tool) {
        const meant = didYouMean(
          toolName,
          known.map((each) => each.name),
        );
        const all = ` It has:\n${known.map(described).join("\n")}`;
        throw new UsageError(`${name} has no tool ${JSON.stringify(toolName)}.${meant || all}`);
      }
      /** Only where the arguments are at fault: a server may fail for reasons of its own. */
      const explain = () => {
        if (fits(tool, args)) return;
        terminal.say(
          `\n${described(tool)}\nGive them as JSON: ${hint(`call ${name} ${tool.name} '${exampleOf(tool)}'`)}`,
        );
      };
      let result: CallToolResult;
      try {
        result = await client.callTool(
          { name: tool.name, arguments: args },
          { timeout: LONGEST_CALL_MS, resetTimeoutOnProgress: true, signal },
        );
      } catch (error) {
        terminal.say(messageOf(mcpFailure(error, mcpUrl)));
        explain();
        return 1;
      }
      if (values.json) terminal.write(`${JSON.stringify(result, null, 2)}\n`);
      else terminal.print(result.content.map(textOf).join("\n"));
      if (result.isError !== true) return 0;
      explain();
      return 1;
    });
  },
});

async function connected(
  context: CommandContext,
  name: string,
  work: (client: Client, mcpUrl: string) => Promise<number>,
): Promise<number> {
  const mcpUrl = await mcpUrlOf(context, name);
  return connectedTo(context, mcpUrl, (client) => work(client, mcpUrl));
}

/** Uses an MCP client that is connected to this URL as any other would be. @throws what `mcpFailure` makes of its errors */
export async function connectedTo<Result>(
  { graph, signal }: Pick<CommandContext, "graph" | "signal">,
  mcpUrl: string,
  work: (client: Client) => Promise<Result>,
): Promise<Result> {
  const client = new Client({ name: "toolyard", version: "1" });
  const headers = { authorization: `Bearer ${await graph.token()}` };
  const transport = new StreamableHTTPClientTransport(new URL(mcpUrl), { requestInit: { headers } });
  try {
    await client.connect(transport, { signal });
    return await work(client);
  } catch (error) {
    throw mcpFailure(error, mcpUrl);
  } finally {
    // So that no process of the server waits for this session's idle timeout.
    await transport.terminateSession().catch(() => undefined);
    await client.close();
  }
}

/** Of the running tool. While the graph's database is away, which calls do not need, it is the gateway's URL for a tool of this name. */
async function mcpUrlOf({ graph, hint, terminal, url }: CommandContext, name: string): Promise<string> {
  try {
    const tool = await findTool(graph, name);
    if (tool.mcpUrl !== null) return tool.mcpUrl;
    const [newest] = deploymentsOf(tool);
    const why = newest ? ` Its newest deployment is ${newest.status}${newest.reason ? `: ${newest.reason}` : "."}` : "";
    throw new GraphError("NOT_FOUND", `${name} is not deployed.${why} Deploy it: ${hint(`deploy ${name}`)}`);
  } catch (error) {
    if (!isUnavailable(error)) throw error;
    terminal.say(`${error.message} ${name} is called without being looked up.`);
    return `${url}/mcp/${encodeURIComponent(name)}/v1/mcp`;
  }
}

function argumentsOf(text: string): Record<string, unknown> {
  const value = parseExactly(text, `The arguments, which are an object as in '{"who":"me"}', are`);
  if (!isObject(value)) {
    throw new UsageError(`The arguments must be a JSON object, as in '{"who":"me"}'.`);
  }
  return value;
}

/** Whether the arguments match the tool's schema, as far as it can be used here. */
function fits(tool: Tool, args: Record<string, unknown>): boolean {
  try {
    const { $schema: _dialect, ...schema } = tool.inputSchema;
    // Numbers as plain JavaScript, which the schema's reader knows.
    return new Ajv2020({ strict: false, validateFormats: false, logger: false }).validate(
      schema,
      JSON.parse(JSON.stringify(args)),
    );
  } catch {
    return true; // its schema cannot be checked
  }
}

interface Property {
  type?: string | string[] | undefined;
  description?: string | undefined;
  enum?: unknown[] | undefined;
  default?: unknown;
  items?: Property | undefined;
  properties?: Record<string, Property> | undefined;
  required?: string[] | undefined;
}
/** The part of a JSON Schema that is shown; other forms are left out. */
const propertyShape: z.ZodType<Property> = z.object({
  type: z
    .union([z.string(), z.array(z.string())])
    .optional()
    .catch(undefined),
  description: z.string().optional().catch(undefined),
  enum: z.array(z.unknown()).optional().catch(undefined),
  default: z.unknown().optional(),
  items: z.lazy(() => propertyShape.optional().catch(undefined)),
  properties: z.lazy(() => z.record(z.string(), propertyShape).optional().catch(undefined)),
  required: z.array(z.string()).optional().catch(undefined),
});

/** How deep the content of lists and objects is shown. */
const MAX_DEPTH = 3;

function described(tool: Tool): string {
  const { properties = {}, required = [] } = propertyShape.parse(tool.inputSchema);
  const [about = ""] = (tool.description ?? tool.title ?? "").trim().split("\n");
  const lines = Object.entries(properties).map(([name, property]) => {
    const isRequired = required.includes(name) ? ", required" : "";
    const otherwise = property.default === undefined ? "" : `, ${JSON.stringify(property.default)} unless given`;
    const what = property.description ? `: ${property.description.split("\n")[0]}` : "";
    return `    ${name} (${typeOf(property, 1)}${isRequired}${otherwise})${what}`;
  });
  return [`${tool.name}${about === "" ? "" : `: ${about}`}`, ...lines].join("\n");
}

/** As in `string`, `"a" | "b"`, `array of {name: string, size?: number}`. */
function typeOf(property: Property, depth: number): string {
  if (property.enum) return property.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (depth < MAX_DEPTH && property.items) return `array of ${typeOf(property.items, depth + 1)}`;
  if (depth < MAX_DEPTH && property.properties) {
    const inside = Object.entries(property.properties).map(
      ([name, each]) => `${name}${property.required?.includes(name) ? "" : "?"}: ${typeOf(each, depth + 1)}`,
    );
    return `{${inside.join(", ")}}`;
  }
  return [property.type ?? "any"].flat().join(" | ");
}

/** Arguments that show the shape: the required ones. */
function exampleOf(tool: Tool): string {
  return JSON.stringify(sampleOf({ ...propertyShape.parse(tool.inputSchema), type: "object" }, 0));
}

function sampleOf(property: Property, depth: number): unknown {
  if (property.default !== undefined) return property.default;
  if (property.enum) return property.enum[0];
  const [type] = [property.type].flat();
  if (type === "array") return property.items && depth < MAX_DEPTH ? [sampleOf(property.items, depth + 1)] : [];
  if (type === "object") {
    const inside = depth < MAX_DEPTH ? Object.entries(property.properties ?? {}) : [];
    return Object.fromEntries(
      inside
        .filter(([name]) => property.required?.includes(name))
        .map(([name, each]) => [name, sampleOf(each, depth + 1)]),
    );
  }
  return { number: 1, integer: 1, boolean: true }[String(type)] ?? "…";
}

function textOf(part: CallToolResult["content"][number]): string {
  switch (part.type) {
    case "text":
      return part.text;
    case "image":
    case "audio":
      return `[${part.type}, ${part.mimeType}, ${Buffer.byteLength(part.data, "base64")} bytes; --json has it]`;
    case "resource_link":
      return `[${part.name}: ${part.uri}]`;
    case "resource":
      return "text" in part.resource ? part.resource.text : `[${part.resource.uri}; --json has it]`;
    default:
      return JSON.stringify(part);
  }
}
