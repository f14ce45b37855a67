import { homedir } from "node:os";
import { isAbsolute, join, relative, resolve } from "node:path";
import { parseArgs, type ParseArgsOptionsConfig } from "node:util";
import { messageOf, systemCodeOf } from "@toolyard/service-kit/errors/errors.ts";
import { askPresence } from "@toolyard/service-kit/process/presence.mjs";
import type { Command, CommandContext } from "./command.ts";
import { commands } from "./commands/index.ts";
import { DEFAULT_URL } from "./defaults.ts";
import { createGraph } from "./graph.ts";
import { didYouMean } from "./did-you-mean.ts";
import { createSessionStore } from "./session-store.ts";
import type { Terminal } from "./terminal.ts";
import { UsageError } from "./usage-error.ts";

const EXIT = { done: 0, failed: 1, usedWrongly: 2, interrupted: 130 } as const;

/** Options of every command. */
const COMMON = {
  url: { type: "string" },
  help: { type: "boolean", short: "h" },
} satisfies ParseArgsOptionsConfig;

export interface CommandLineOptions {
  argv: readonly string[];
  env: Readonly<Record<string, string | undefined>>;
  /** The user's working directory. */
  folder: string;
  /** Toolyard's own folder. */
  root: string;
  terminal: Terminal;
  signal: AbortSignal;
}

/** One command of `npm run toolyard -- …`. @returns the exit code. */
export async function runCommandLine(options: CommandLineOptions): Promise<number> {
  const { argv, env, folder, root, terminal, signal } = options;
  const hint = (command: string) => `npm ${isBelow(root, folder) ? "" : `--prefix ${root} `}run toolyard -- ${command}`;
  const [name, ...rest] = argv;
  if (name === undefined || ["help", "--help", "-h"].includes(name)) {
    const about = rest[0] === undefined ? undefined : commands.find((each) => each.name === rest[0]);
    terminal.print(about ? helpOf(about, hint) : overview(hint));
    return name === undefined ? EXIT.usedWrongly : EXIT.done;
  }
  const command = commands.find((each) => each.name === name);
  let isUnderstood = false;
  try {
    if (!command) {
      const meant = didYouMean(
        name,
        commands.map((each) => each.name),
      );
      throw new UsageError(`There is no command ${JSON.stringify(name)}.${meant}`);
    }
    const given = await parse(command, rest, hint);
    if (given.values.help === true) {
      terminal.print(helpOf(command, hint));
      return EXIT.done;
    }
    isUnderstood = true;
    const sessions = createSessionStore({ folder: sessionFolder(env) });
    const dataDir = resolve(root, env["DATA_DIR"] || "data");
    const told = given.values.url ?? env["TOOLYARD_URL"];
    const url = gatewayUrl(
      typeof told === "string" && told !== ""
        ? told
        : // A login is where a Toolyard runs on this host, whatever its port; everything else is where the login was.
          ((name === "login" ? (await askPresence(dataDir))?.url : await sessions.current()) ?? DEFAULT_URL),
    );
    const givenToken = env["TOOLYARD_TOKEN"] || null;
    const context: CommandContext = {
      terminal,
      env,
      folder,
      dataDir,
      url,
      sessions,
      graph: createGraph({ url, sessions, givenToken, hint }),
      signal,
      hint,
    };
    return (await command.run(context, given)) ?? EXIT.done;
  } catch (error) {
    if (signal.aborted) return EXIT.interrupted;
    terminal.say(messageOf(error));
    if (!(error instanceof UsageError)) return EXIT.failed;
    if (!command)
      terminal.say(`
All commands: ${hint("--help")}`);
    else if (!isUnderstood)
      terminal.say(`
Usage: ${hint(`${command.name} ${command.usage}`)}`);
    return EXIT.usedWrongly;
  }
}

async function parse(command: Command, args: readonly string[], hint: (text: string) => string) {
  const end = args.indexOf("--");
  const before = end === -1 ? [...args] : args.slice(0, end);
  const options = { ...command.options, ...COMMON };
  try {
    const { values, positionals } = parseArgs({ args: before, options, allowPositionals: true });
    const [min, max] = command.positionals;
    if (values.help !== true && (positionals.length < min || positionals.length > max)) {
      const problem =
        positionals.length < min ? "Something is missing" : `${positionals.slice(max).join(" ")} is too much`;
      throw new UsageError(`${problem}: ${command.name} takes ${command.usage || "nothing else"}.`);
    }
    return { values, positionals, rest: end === -1 ? null : args.slice(end + 1) };
  } catch (error) {
    if (error instanceof UsageError || !systemCodeOf(error)?.startsWith("ERR_PARSE_ARGS")) throw error;
    const wrong = /'(?:-\w, )?(--?[^' =]+)/.exec(messageOf(error))?.[1];
    const known = Object.keys(options).map((name) => `--${name}`);
    if (wrong === undefined || known.includes(wrong)) throw new UsageError(`${messageOf(error)}.`);
    const before = command.usage.includes(" -- ")
      ? ` The server's own command goes after \`--\`, as in: ${hint("register greeter -- npx -y some-server")}`
      : "";
    throw new UsageError(`${command.name} has no option ${wrong}.${didYouMean(wrong, known) || before}`);
  }
}

/** $XDG_CONFIG_HOME/toolyard, as the XDG Base Directory Specification has it: relative values are ignored. */
function sessionFolder(env: CommandLineOptions["env"]): string {
  const configured = env["XDG_CONFIG_HOME"];
  const base = configured && isAbsolute(configured) ? configured : join(env["HOME"] || homedir(), ".config");
  return join(base, "toolyard");
}

function gatewayUrl(text: string): string {
  const url = URL.parse(text);
  if (!url || !/^https?:$/.test(url.protocol) || url.username !== "" || url.password !== "") {
    throw new UsageError(`${text} is not the address of a Toolyard, as ${DEFAULT_URL} is.`);
  }
  return `${url.origin}${url.pathname}`.replace(/\/(graphql\/?)?$/, "");
}

function isBelow(folder: string, path: string): boolean {
  const from = relative(folder, path);
  return from === "" || (!from.startsWith("..") && !isAbsolute(from));
}

function overview(hint: (text: string) => string): string {
  const width = Math.max(...commands.map(({ name }) => name.length));
  return [
    "Toolyard on the command line.",
    "",
    `Usage: ${hint("COMMAND …")}`,
    "",
    ...commands.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`),
    "",
    `More about one: ${hint("COMMAND --help")}`,
    `Each takes --url URL, the gateway's address (else TOOLYARD_URL, the last login's, that of the Toolyard on this host, or ${DEFAULT_URL}).`,
    "TOOLYARD_TOKEN, an access token or API key, stands in for a login. Exit codes: 0 done, 1 failed, 2 used wrongly, 130 interrupted.",
    "JSON for programs: add --json, and --silent after `npm run`.",
  ].join("\n");
}

function helpOf(command: Command, hint: (text: string) => string): string {
  return [`Usage: ${hint(`${command.name} ${command.usage}`.trim())}`, "", command.summary, "", command.help]
    .join("\n")
    .trim();
}
