import type { LaunchKind } from "@toolyard/launch";
import { shortened } from "@toolyard/service-kit/errors/graphql-error.ts";
import { DEFAULT_MCP_PATH, LIMITS } from "@toolyard/launch/limits.ts";
import { defineCommand, wholeNumber, type CommandContext, type Values } from "../command.ts";
import { GraphError, type Graph } from "../graph.ts";
import { parseExactly } from "../json-text.ts";
import { absolute, absoluteCommand, type LaunchInput, type LaunchOptions, type Variable } from "../launch.ts";
import { UsageError } from "../usage-error.ts";

/** Options of a launch. */
const launchOptions = {
  image: { type: "string" },
  env: { type: "string", multiple: true },
  secret: { type: "string", multiple: true },
  header: { type: "string", multiple: true },
  port: { type: "string" },
  path: { type: "string" },
  cwd: { type: "string" },
  writable: { type: "string", multiple: true },
  shared: { type: "boolean" },
  http: { type: "boolean" },
  options: { type: "string" },
} as const;
type LaunchOption = keyof typeof launchOptions;

const OF_COMMANDS = ["env", "secret", "cwd", "writable", "http", "options"] as const;
/** Every kind of launch, and the options that it takes. */
const kinds: Record<LaunchKind, { what: string; takes: readonly LaunchOption[] }> = {
  stdio: { what: "A command without --http", takes: [...OF_COMMANDS, "shared"] },
  http: { what: "A command with --http", takes: [...OF_COMMANDS, "path"] },
  image: { what: "An image", takes: ["env", "secret", "writable", "port", "path", "options"] },
  remote: { what: "A URL", takes: ["header", "options"] },
};

export const register = defineCommand({
  name: "register",
  summary: "Register an MCP server: a command that runs it, a container image, or the URL where it runs.",
  usage:
    "NAME [options] -- COMMAND [ARGUMENT …], or: register NAME [options] --image REF [-- ARGUMENT …], or: register NAME [options] URL",
  positionals: [1, Infinity],
  options: {
    ...launchOptions,
    description: { type: "string" },
    tag: { type: "string", multiple: true },
    update: { type: "boolean" },
    json: { type: "boolean" },
  },
  help: `  -- COMMAND …            What speaks MCP on stdin and stdout: node server.mjs, npx -y PACKAGE, uvx PACKAGE. Relative paths are
                          from where you are.
  --http                  The command serves HTTP on $PORT instead, at --path (${DEFAULT_MCP_PATH}).
  --image REF             A container image that serves HTTP on --port (${LIMITS.image.port.default}, also given as $PORT), at --path; arguments of its
                          entry point follow \`--\`.
  URL                     It runs elsewhere, as https://example.com/mcp does.
  --env NAME[=VALUE]      A variable for it; without a value, as it is in your environment.
  --secret NAME           A variable that is sealed and never shown, as it is in your environment; asked for, or read from stdin,
                          where it is not there.
  --header NAME           With a URL: a header, whose value comes as a secret's does, from the variable of its name (X-Key:
                          X_KEY).
  --cwd DIR               Where a command starts.
  --writable PATH         A file or folder that a command may write to; of an image, a folder in it, which is empty at each start.
  --shared                One process for all sessions, instead of one for each.
  --options JSON          Time limits, probes, resources and egress, as LaunchOptionsInput of the graph has them:
                          '{"timeoutSeconds":120,"resources":{"memoryMb":512},"egress":{"allow":["api.example.com"]}}'
  --description TEXT, --tag WORD
  --update                A new version of the tool that has this name.`,
  async run(context, { positionals: [name = "", ...more], values, rest }) {
    const { graph, terminal, hint } = context;
    const launch = await launchOf(context, { more, rest: rest ?? [], values });
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

/** `more` stood before `--`, `rest` after it. @throws UsageError */
async function launchOf(
  context: CommandContext,
  { more, rest, values }: { more: string[]; rest: string[]; values: Values<typeof launchOptions> },
): Promise<LaunchInput> {
  const { folder } = context;
  const argv = [...more, ...rest];
  const { image } = values;
  if (image === undefined && argv.length === 0)
    throw new UsageError("Give the server's command after `--`, its image by --image, or its URL.");
  if (image !== undefined && more.length > 0)
    throw new UsageError(`Arguments of an image go after \`--\`: -- ${argv.join(" ")}`);
  const url = image === undefined && argv.length === 1 && /^https?:\/\//i.test(argv[0] ?? "") ? argv[0] : undefined;
  const { what, takes } =
    kinds[image !== undefined ? "image" : url !== undefined ? "remote" : values.http ? "http" : "stdio"];
  const stray = Object.values(kinds)
    .flatMap((kind) => kind.takes)
    .find((option) => values[option] !== undefined && !takes.includes(option));
  if (stray) throw new UsageError(`${what} takes no --${stray}, but ${takes.map((each) => `--${each}`).join(", ")}.`);

  const options = {
    // The graph checks it.
    ...(values.options !== undefined && {
      options: parseExactly(values.options, "--options is") as LaunchOptions,
    }),
  };
  if (url !== undefined) {
    const headers = await secretsOf(context, values.header ?? [], (header) =>
      header.toUpperCase().replaceAll("-", "_"),
    );
    return { remote: { url, headers, ...options } };
  }
  const path = { ...(values.path !== undefined && { path: values.path }) };
  const environment = async () => [
    ...variablesOf(context, values.env ?? []),
    ...(await secretsOf(context, values.secret ?? [], (each) => each)),
  ];
  if (image !== undefined) {
    const port = wholeNumber("--port", values.port);
    const env = await environment();
    const writable = values.writable && { writablePaths: values.writable };
    return { image: { image, args: rest, ...(port !== null && { port }), ...path, env, ...writable, ...options } };
  }
  const program = {
    ...absoluteCommand(argv, folder),
    env: await environment(),
    ...(values.cwd !== undefined && { workingDirectory: absolute(values.cwd, folder) }),
    ...(values.writable && { writablePaths: values.writable.map((each) => absolute(each, folder)) }),
    ...options,
  };
  return values.http
    ? { http: { ...program, ...path } }
    : { stdio: { ...program, ...(values.shared && { sessions: "SHARED" }) } };
}

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

/** An inline script is longer. */
const MAX_SHOWN_LENGTH = 200;

/** A launch's command, image or URL, without environment and headers, in short. */
function shownCommand(launch: LaunchInput): string {
  if ("remote" in launch) return new URL(launch.remote.url).origin;
  const argv =
    "image" in launch
      ? [launch.image.image, ...launch.image.args]
      : "stdio" in launch
        ? [launch.stdio.command, ...launch.stdio.args]
        : [launch.http.command, ...launch.http.args];
  const text = argv.map((part) => (/^[\w@%+=:,./-]+$/.test(part) ? part : JSON.stringify(part))).join(" ");
  return shortened(text, MAX_SHOWN_LENGTH);
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
