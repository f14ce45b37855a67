import { defineCommand, type CommandContext } from "../command.ts";
import { GraphError, type Graph } from "../graph.ts";
import { absolute, absoluteCommand, type LaunchInput, type Variable } from "../launch.ts";
import { UsageError } from "../usage-error.ts";

export const register = defineCommand({
  name: "register",
  summary: "Register an MCP server: a command that runs it, or the URL where it runs.",
  usage: "NAME [options] -- COMMAND [ARGUMENT …], or: register NAME [options] URL",
  positionals: [1, Infinity],
  options: {
    description: { type: "string" },
    tag: { type: "string", multiple: true },
    env: { type: "string", multiple: true },
    secret: { type: "string", multiple: true },
    header: { type: "string", multiple: true },
    cwd: { type: "string" },
    writable: { type: "string", multiple: true },
    shared: { type: "boolean" },
    http: { type: "boolean" },
    path: { type: "string" },
    update: { type: "boolean" },
    json: { type: "boolean" },
  },
  help: `  -- COMMAND …            What speaks MCP on stdin and stdout: node server.mjs, npx -y PACKAGE, uvx PACKAGE. Relative paths are
                          from where you are.
  --http                  The command serves HTTP on $PORT instead, at --path (/mcp).
  URL                     It runs elsewhere, as https://example.com/mcp does.
  --env NAME[=VALUE]      A variable for it; without a value, as it is in your environment.
  --secret NAME           A variable that is sealed and never shown, as it is in your environment; asked for, or read from stdin,
                          where it is not there.
  --header NAME           With a URL: a header, whose value comes as a secret's does, from the variable of its name (X-Key:
                          X_KEY).
  --cwd DIR               Where it starts.
  --writable PATH         A file or folder that it may write to.
  --shared                One process for all sessions, instead of one for each.
  --description TEXT, --tag WORD
  --update                A new version of the tool that has this name.`,
  async run(context, { positionals: [name = "", ...more], values, rest }) {
    const { graph, terminal, folder, hint } = context;
    const argv = [...more, ...(rest ?? [])];
    const url = argv.length === 1 && /^https?:\/\//i.test(argv[0] ?? "") ? argv[0] : undefined;
    if (argv.length === 0) throw new UsageError("Give the server's command after `--`, or its URL.");
    if (url === undefined && values.header)
      throw new UsageError("--header belongs to a URL; a command takes --env and --secret.");
    if (values.path !== undefined && !values.http) throw new UsageError("--path belongs to --http.");

    let launch: LaunchInput;
    if (url !== undefined) {
      const stray = (["env", "secret", "cwd", "writable", "shared", "http"] as const).find(
        (each) => values[each] !== undefined,
      );
      if (stray) throw new UsageError(`--${stray} belongs to a command, which Toolyard starts: not to a URL.`);
      const secrets = await secretsOf(context, values.header ?? [], (header) =>
        header.toUpperCase().replaceAll("-", "_"),
      );
      launch = { remote: { url, headers: secrets } };
    } else {
      const program = {
        ...absoluteCommand(argv, folder),
        env: [
          ...variablesOf(context, values.env ?? []),
          ...(await secretsOf(context, values.secret ?? [], (each) => each)),
        ],
        ...(values.cwd !== undefined && { workingDirectory: absolute(values.cwd, folder) }),
        ...(values.writable && { writablePaths: values.writable.map((path) => absolute(path, folder)) }),
      };
      launch = values.http
        ? { http: { ...program, ...(values.path !== undefined && { path: values.path }) } }
        : { stdio: { ...program, ...(values.shared && { sessions: "SHARED" }) } };
    }
    const about = {
      ...(values.description !== undefined && { description: values.description }),
      ...(values.tag && { tags: values.tag }),
    };
    const tool = values.update
      ? await updateTool(graph, name, { launch, ...about })
      : await createTool(graph, { name, launch, ...about });
    if (values.json) terminal.write(`${JSON.stringify(tool)}\n`);
    else {
      terminal.print(
        `${values.update ? "Changed" : "Registered"} ${tool.slug}, version ${tool.currentVersion.number}: ${shownCommand(launch)}`,
      );
      terminal.print(`Run it: ${hint(`deploy ${tool.slug}`)}`);
    }
  },
});

export interface RegisteredTool {
  id: string;
  slug: string;
  currentVersion: { number: number };
}

const FIELDS = "id slug currentVersion { number }";

/** Registers under the very name, where that can be a slug. @throws GraphError CONFLICT when it is taken */
export async function createTool(
  graph: Graph,
  tool: { name: string; launch: LaunchInput; description?: string; tags?: string[] },
): Promise<RegisteredTool> {
  const isSlug = /^[a-z][a-z0-9-]{1,62}$/.test(tool.name);
  try {
    const { createTool: made } = await graph.query<{ createTool: RegisteredTool }>(
      `mutation ($input: CreateToolInput!) { createTool(input: $input) { ${FIELDS} } }`,
      { input: { description: shownCommand(tool.launch), ...tool, ...(isSlug && { slug: tool.name }) } },
    );
    return made;
  } catch (error) {
    if (!(error instanceof GraphError) || error.code !== "CONFLICT") throw error;
    const { tool: taken } = await graph.query<{ tool: { deletedAt: string | null } | null }>(
      "query ($slug: String!) { tool(slug: $slug) { deletedAt } }",
      { slug: tool.name },
    );
    if (!taken) throw error;
    const message =
      taken.deletedAt === null
        ? `${tool.name} is registered already: --update gives it a new version.`
        : `${tool.name} was the name of a tool that is deleted, and stays taken: choose another, or restore that tool with \`restore ${tool.name}\`.`;
    throw new GraphError("CONFLICT", message, error);
  }
}

/** Gives the tool of this slug a new version, where that differs from its latest. @throws GraphError NOT_FOUND */
export async function updateTool(graph: Graph, slug: string, input: Record<string, unknown>): Promise<RegisteredTool> {
  const { updateTool: changed } = await graph.query<{ updateTool: RegisteredTool }>(
    `mutation ($id: ID!, $input: UpdateToolInput!) { updateTool(id: $id, input: $input) { ${FIELDS} } }`,
    { id: slug, input },
  );
  return changed;
}

/** The command that is run, without secrets: arguments are left out. */
function shownCommand(launch: LaunchInput): string {
  if ("remote" in launch) return new URL(launch.remote.url).origin;
  const { command, args } = "stdio" in launch ? launch.stdio : launch.http;
  return [command, ...args].map((part) => (/^[\w@%+=:,./-]+$/.test(part) ? part : JSON.stringify(part))).join(" ");
}

function variablesOf({ env }: CommandContext, given: readonly string[]): Variable[] {
  return given.map((text) => {
    const [, name = text, value] = /^([^=]*)=([\s\S]*)$/.exec(text) ?? [];
    const found = value ?? env[name];
    if (found === undefined)
      throw new UsageError(`${name} is not in your environment. Set it, or write --env ${name}=VALUE.`);
    return { name, value: found, secret: false };
  });
}

async function secretsOf(
  { env, terminal }: CommandContext,
  names: readonly string[],
  variableOf: (name: string) => string,
): Promise<Variable[]> {
  const withValue = names.find((name) => /[=:]/.test(name));
  if (withValue !== undefined) {
    throw new UsageError(
      `A secret's value does not belong on a command line, where others can read it. Give the name ${withValue.split(/[=:]/)[0]} alone, and the value by the environment or on stdin.`,
    );
  }
  const missing = names.filter((name) => env[variableOf(name)] === undefined);
  if (!terminal.isInteractive && missing.length > 1) {
    throw new UsageError(`${missing.join(" and ")} are not in your environment, and only one can be read from stdin.`);
  }
  const secrets: Variable[] = [];
  for (const name of names) {
    const value =
      env[variableOf(name)] ??
      (terminal.isInteractive
        ? await terminal.askHidden(name)
        : (await terminal.readInput(`${name}`)).replace(/\r?\n$/, ""));
    if (value === "")
      throw new UsageError(`${name} is empty. Set ${variableOf(name)} in your environment, or pipe the value in.`);
    secrets.push({ name, value, secret: true });
  }
  return secrets;
}
