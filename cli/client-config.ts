import { basename, dirname, join } from "node:path";
import { homedir } from "node:os";
import { z } from "zod";
import { parseWithComments } from "./json-text.ts";
import { absolute, absoluteCommand, type LaunchInput, type Variable } from "./launch.ts";
import { UsageError } from "./usage-error.ts";

/** A server in an MCP client's configuration. */
export interface ConfiguredServer {
  name: string;
  /** Null: it is not to be registered. */
  launch: LaunchInput | null;
  /** Why not. */
  problem: string | null;
  /** Settings that only the client uses. */
  ignored: string[];
}

export interface ClientConfigOptions {
  /** For `${env:NAME}` and `${NAME}`. */
  env: Readonly<Record<string, string | undefined>>;
  /** The name of the text in messages: its file. */
  name: string;
  /** The folder that relative paths start from. */
  folder: string;
  /** For `${input:id}` of VS Code. @throws where there is no user to ask */
  ask(id: string, description: string): Promise<string>;
  /** Of VS Code's `envFile`. */
  readEnvFile(path: string): Promise<Record<string, string>>;
}

const text = z.union([z.string(), z.number(), z.boolean()]).transform(String);
const serverShape = z.object({
  type: z.string().optional(),
  transport: z.string().optional(),
  command: z.string().optional(),
  args: z.array(text).optional(),
  env: z.record(z.string(), text.nullable()).optional(),
  envFile: z.string().optional(),
  cwd: z.string().optional(),
  url: z.string().optional(),
  serverUrl: z.string().optional(),
  httpUrl: z.string().optional(),
  headers: z.record(z.string(), text).optional(),
  disabled: z.boolean().optional(),
  enabled: z.boolean().optional(),
});
type Server = z.infer<typeof serverShape>;
const inputShape = z.object({ id: z.string(), description: z.string().optional(), default: z.string().optional() });
const serversShape = z.record(z.string(), z.unknown());

/** These clients' names of the transports (`sse` is the one of 2024-11-05). */
const TRANSPORTS = ["stdio", "http", "sse", "streamable-http", "streamableHttp", "streamable_http"];

/**
 * Reads an MCP client's configuration: `mcpServers` (Claude, Cursor, Windsurf, Gemini, …), VS Code's `servers` with `inputs`, in a
 * file of its own or below `mcp` in its settings, Zed's `context_servers`. Comments and trailing commas are allowed.
 * @throws UsageError where the text is none of these
 */
export async function readClientConfig(source: string, options: ClientConfigOptions): Promise<ConfiguredServer[]> {
  const { servers, inputs } = serversOf(parseWithComments(source, `${options.name} is`), options.name);
  const answers = new Map<string, Promise<string>>();
  const input = (id: string): Promise<string> => {
    const known = answers.get(id);
    if (known) return known;
    const { description = id } = inputs.find((each) => each.id === id) ?? {};
    const answer = options.ask(id, description);
    answers.set(id, answer);
    return answer;
  };
  const found: ConfiguredServer[] = [];
  for (const [name, value] of Object.entries(servers)) {
    const parsed = serverShape.safeParse(value);
    const ignored = value instanceof Object ? Object.keys(value).filter((key) => !(key in serverShape.shape)) : [];
    const server = { name, launch: null, problem: null, ignored };
    if (!parsed.success) {
      const [issue] = parsed.error.issues;
      const where = issue?.path.join(".") ?? "";
      const problem =
        where === ""
          ? "it is not an object with a command or a url"
          : `${where}: ${issue?.message.replace("Invalid input: ", "")}`;
      found.push({ ...server, problem });
    } else if (parsed.data.disabled === true || parsed.data.enabled === false) {
      found.push({ ...server, problem: "it is disabled" });
    } else {
      try {
        found.push({ ...server, launch: await launchOf(parsed.data, { ...options, input }) });
      } catch (error) {
        if (!(error instanceof UsageError)) throw error;
        found.push({ ...server, problem: error.message });
      }
    }
  }
  return found;
}

function serversOf(
  value: unknown,
  name: string,
): { servers: Record<string, unknown>; inputs: z.infer<typeof inputShape>[] } {
  const root = serversShape.safeParse(value);
  if (!root.success) throw new UsageError(`${name} holds no object with servers.`);
  const inner = serversShape.safeParse(root.data["mcp"]);
  for (const level of [root.data, ...(inner.success ? [inner.data] : [])]) {
    const servers = serversShape.safeParse(level["mcpServers"] ?? level["servers"] ?? level["context_servers"]);
    const inputs = z.array(inputShape).safeParse(level["inputs"]);
    if (servers.success) return { servers: servers.data, inputs: inputs.success ? inputs.data : [] };
  }
  const keys = Object.keys(root.data)
    .slice(0, 10)
    .map((key) => JSON.stringify(key));
  throw new UsageError(
    `${name} has neither "mcpServers" (Claude, Cursor) nor "servers" (VS Code)${keys.length === 0 ? "" : `, but ${keys.join(", ")}`}.`,
  );
}

type Fill = Pick<ClientConfigOptions, "env" | "folder" | "readEnvFile"> & { input(id: string): Promise<string> };

async function launchOf(server: Server, options: Fill): Promise<LaunchInput> {
  const type = server.type ?? server.transport;
  if (type !== undefined && !TRANSPORTS.includes(type)) {
    throw new UsageError(`its type ${JSON.stringify(type)} is not known here; these are: ${TRANSPORTS.join(", ")}`);
  }
  const fill = (value: string) => filledIn(value, options);
  const url = server.url ?? server.serverUrl ?? server.httpUrl;
  if (server.command === undefined && url === undefined) throw new UsageError("it has neither a command nor a url");
  if (url !== undefined && (server.command === undefined || (type !== undefined && type !== "stdio"))) {
    return { remote: { url: await fill(url), headers: await sealed(server.headers ?? {}, fill) } };
  }
  if (type !== undefined && type !== "stdio") throw new UsageError(`its type is ${type}, but it has no url`);
  const folder = server.cwd === undefined ? options.folder : absolute(await fill(server.cwd), options.folder);
  const argv = withoutCmd([await fill(server.command ?? ""), ...(await all(server.args ?? [], fill))]);
  const fromFile =
    server.envFile === undefined ? {} : await options.readEnvFile(absolute(await fill(server.envFile), options.folder));
  const given = Object.fromEntries(Object.entries(server.env ?? {}).filter(([, value]) => value !== null));
  return {
    stdio: {
      ...absoluteCommand(argv, folder),
      // VS Code's order: `env` over `envFile`. Neither marks values as secret.
      env: [
        ...Object.entries(fromFile).flatMap(([name, value]) => (name in given ? [] : [{ name, value, secret: true }])),
        ...(await sealed(given, fill)),
      ],
      ...(server.cwd !== undefined && { workingDirectory: folder }),
    },
  };
}

/** Windows' clients start scripts such as npx by `cmd /c`. */
function withoutCmd(argv: string[]): string[] {
  return /^cmd(\.exe)?$/i.test(argv[0] ?? "") && /^\/c$/i.test(argv[1] ?? "") ? argv.slice(2) : argv;
}

async function sealed(
  values: Readonly<Record<string, string | null>>,
  fill: (value: string) => Promise<string>,
): Promise<Variable[]> {
  return all(Object.entries(values), async ([name, value]) => ({ name, value: await fill(value ?? ""), secret: true }));
}

/** One after the other: each may ask the user. */
async function all<Item, Result>(items: readonly Item[], make: (item: Item) => Promise<Result>): Promise<Result[]> {
  const made: Result[] = [];
  for (const item of items) made.push(await make(item));
  return made;
}

/** Replaces the clients' placeholders: VS Code's `${…}` and Claude Code's `${NAME:-otherwise}`. Unknown ones are refused. */
async function filledIn(value: string, { env, folder, input }: Fill): Promise<string> {
  let result = "";
  let end = 0;
  for (const match of value.matchAll(/\$\{([^{}]*)\}/g)) {
    const [whole, inside = ""] = match;
    result += value.slice(end, match.index) + (await valueOf(inside));
    end = match.index + whole.length;
  }
  return result + value.slice(end);

  async function valueOf(inside: string): Promise<string> {
    const fixed: Readonly<Record<string, string>> = {
      workspaceFolder: folder,
      workspaceRoot: folder,
      workspaceFolderBasename: basename(folder),
      cwd: folder,
      userHome: homedir(),
      pathSeparator: "/",
      "/": "/",
    };
    const known = fixed[inside];
    if (known !== undefined) return known;
    if (inside.startsWith("input:")) return input(inside.slice("input:".length));
    const [, name = "", otherwise] = /^(?:env:)?([A-Za-z_]\w*)(?::-([\s\S]*))?$/.exec(inside) ?? [];
    const found = env[name] || otherwise;
    if (name !== "" && found !== undefined) return found;
    throw new UsageError(
      name === "" ? `\${${inside}} is not known here` : `\${${inside}} is used, and ${name} is not in your environment`,
    );
  }
}

/** The base of a client's relative paths and of `${workspaceFolder}`. */
export function folderOfConfig(file: string): string {
  const folder = dirname(file);
  return [".vscode", ".cursor", ".roo", ".zed"].includes(basename(folder)) ? join(folder, "..") : folder;
}
