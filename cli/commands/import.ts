import { readFile } from "node:fs/promises";
import { parseEnv } from "node:util";
import { messageOf, systemCodeOf } from "@toolyard/service-kit/errors/errors.ts";
import { folderOfConfig, readClientConfig } from "../client-config.ts";
import { defineCommand, type CommandContext } from "../command.ts";
import { GraphError } from "../graph.ts";
import { absolute } from "../launch.ts";
import { UsageError } from "../usage-error.ts";
import { allTools } from "../tools.ts";
import { deployInput, deployOptions, RUNTIME_HELP } from "./deploy.ts";
import { createTool, updateTool } from "./register.ts";

interface Outcome {
  name: string;
  slug: string | null;
  problem: string | null;
  ignored: string[];
}

export const importServers = defineCommand({
  name: "import",
  summary: "Register all servers of an MCP client's configuration (Claude Desktop, Cursor, VS Code, …).",
  usage: "FILE [--update] [--deploy [--runtime KIND]] [--json]",
  positionals: [1, 1],
  options: {
    update: { type: "boolean" },
    deploy: { type: "boolean" },
    runtime: deployOptions.runtime,
    json: { type: "boolean" },
  },
  help: `  FILE                 The client's JSON, comments allowed; - reads it from stdin.
  --update             Give those that are registered already a new version.
  --deploy             Ask for each to be run, without waiting for it.
${RUNTIME_HELP}
  --json               What became of each, as JSON.

Environments and headers are sealed. \${env:NAME} and \${NAME} are taken from your environment; what VS Code asks for
(\${input:id}) is too, by its id in capitals (api-key: API_KEY), or is asked for here. Servers that are disabled are left out.
Ends with 1 where one could not be registered.`,
  async run(context, { positionals: [file = ""], values }) {
    const { graph, terminal, folder, hint, env } = context;
    if (values.runtime !== undefined && !values.deploy)
      throw new UsageError("--runtime says where what --deploy asks for runs: give both, or neither.");
    const { input } = await deployInput(context, values);
    const path = absolute(file, folder);
    const source = file === "-" ? await terminal.readInput("The configuration") : await readText(path);
    // Before the user is asked anything.
    const registered = await allTools(graph);
    const servers = await readClientConfig(source, {
      env,
      name: file === "-" ? "The configuration" : path,
      folder: file === "-" ? folder : folderOfConfig(path),
      ask: (id, description) => answerOf(context, id, description),
      readEnvFile: async (each) => parseEnv(await readText(each)) as Record<string, string>,
    });
    const outcomes: Outcome[] = [];
    for (const { name, launch, problem, ignored } of servers) {
      const outcome: Outcome = { name, slug: null, problem, ignored };
      outcomes.push(outcome);
      if (launch) {
        try {
          const there = registered.find((tool) => tool.slug === name || tool.name === name);
          if (there && !values.update) {
            throw new GraphError(
              "CONFLICT",
              `it is registered already, as ${there.slug}: --update gives it a new version`,
            );
          }
          const tool = there
            ? await updateTool(graph, there.slug, { launch })
            : await createTool(graph, { name, launch });
          outcome.slug = tool.slug;
          if (values.deploy) {
            await graph.query("mutation ($input: DeployToolInput!) { deployTool(input: $input) { id } }", {
              input: { ...input, toolId: tool.id },
            });
          }
        } catch (error) {
          if (!(error instanceof GraphError) || error.code === "UNREACHABLE" || error.code === "NOT_LOGGED_IN")
            throw error;
          outcome.problem = error.message;
        }
      }
      if (!values.json) terminal.print(described(outcome));
    }
    if (values.json) terminal.write(`${JSON.stringify(outcomes, null, 2)}\n`);
    else {
      const made = outcomes.filter(({ slug }) => slug !== null);
      const next = values.deploy ? hint("watch --after 0") : hint(`deploy ${made[0]?.slug ?? ""}`);
      terminal.print(
        `${made.length} of ${servers.length} registered.${made.length === 0 ? "" : ` ${values.deploy ? "See how they start" : "Run one"}: ${next}`}`,
      );
    }
    return outcomes.some(({ problem }) => problem !== null && problem !== "it is disabled") ? 1 : 0;
  },
});

function described({ name, slug, problem, ignored }: Outcome): string {
  const what = slug === null ? "not registered" : `registered as ${slug}`;
  const rest = ignored.length === 0 ? "" : ` (left out: ${ignored.join(", ")})`;
  return `${name}: ${what}${problem === null ? "" : slug === null ? `: ${problem}` : `, but ${problem}`}${rest}`;
}

async function answerOf({ terminal, env }: CommandContext, id: string, description: string): Promise<string> {
  const variable = id.toUpperCase().replaceAll(/\W/g, "_");
  const found = env[variable];
  if (found !== undefined) return found;
  if (terminal.isInteractive) return terminal.askHidden(description);
  throw new UsageError(`it asks for ${JSON.stringify(description)}: set ${variable} in your environment`);
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    const why = { ENOENT: "there is no such file", EISDIR: "it is a folder", EACCES: "you may not read it" }[
      systemCodeOf(error) ?? ""
    ];
    throw new UsageError(`${path} cannot be read: ${why ?? messageOf(error)}`);
  }
}
