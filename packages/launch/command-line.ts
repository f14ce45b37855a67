import { basename } from "node:path/posix";
import type { Problem } from "@toolyard/service-kit/errors/errors.ts";

/** How a launch starts a program. Toolyard does it itself: there is no shell that would read it. */
export interface CommandLine {
  command: string;
  args: readonly string[];
  /** Null: an empty folder of the replica's own. */
  workingDirectory: string | null;
}

const INTERPRETERS = /^(?:node(?:js)?|bun|deno|tsx|ts-node|python[\d.]*|ruby|perl|php|bash|sh|zsh|java)$/;
const SCRIPT = /\.(?:[cm]?[jt]s|tsx|py|rb|pl|php|sh|jar)$/i;
/** Options whose value is the next argument, or after which there is no script. */
const TAKES_MORE =
  /^(?:-[ceErmpW]|--(?:eval|print|require|import|loader|experimental-loader|env-file|conditions|config))$/;
const WINDOWS_PATH = /^[A-Za-z]:[\\/]|^\\\\|^[\w.-]+\\/;
/** Text that a shell or an editor would put at the beginning. `${config.key}` is Toolyard's. */
const VARIABLE = /^(?:\$[A-Z_][A-Z0-9_]*|\$\{(?!config\.)[^}]*\}|%\w+%)(?=[\\/]|$)/;

/** Whether a command runs the file that is its first argument, options aside. */
export function isInterpreter(command: string): boolean {
  return INTERPRETERS.test(basename(command));
}

/** The usual interpreter of a file with this name; null when the name does not tell. */
export function interpreterOf(file: string): string | null {
  const extension = /\.(\w+)$/.exec(file)?.[1]?.toLowerCase() ?? "";
  return RUN_BY[extension] ?? null;
}

const RUN_BY: Record<string, string> = {
  ...Object.fromEntries(["js", "mjs", "cjs", "ts", "mts", "cts"].map((extension) => [extension, "node"])),
  py: "python3",
  rb: "ruby",
  pl: "perl",
  php: "php",
};

/** Where in the arguments the script is that an interpreter is given; null where there is none, or none can be told. */
export function scriptIndex({ command, args }: Pick<CommandLine, "command" | "args">): number | null {
  if (!isInterpreter(command)) return null;
  for (const [index, arg] of args.entries()) {
    if (TAKES_MORE.test(arg)) return null;
    if (arg.startsWith("-") || arg === "run") continue;
    return SCRIPT.test(arg) ? index : null;
  }
  return null;
}

/** Mistakes that fail on any host, with what to do instead. `path` is below the launch: `command`, `args.0`, `workingDirectory`. */
export function commandLineProblems(line: CommandLine): Problem[] {
  const { command, args, workingDirectory } = line;
  const script = scriptIndex(line);
  const problems = [
    { path: "command", message: problemOfCommand(line) },
    ...args.map((arg, index) => ({
      path: `args.${index}`,
      message: problemOfPath(arg) ?? (index === script ? problemOfRelative(arg, workingDirectory) : null),
    })),
    { path: "workingDirectory", message: workingDirectory === null ? null : problemOfFolder(workingDirectory) },
  ];
  const windowsShell = /^cmd(?:\.exe)?$/i.test(command) && /^\/[ck]$/i.test(args[0] ?? "");
  if (windowsShell)
    return [{ path: "command", message: "is the shell of Windows: give what comes after /c as command and args" }];
  return problems.flatMap(({ path, message }) => (message === null ? [] : [{ path, message }]));
}

function problemOfCommand({ command, args, workingDirectory }: CommandLine): string | null {
  if (command.trim() !== command) return "must not begin or end with spaces";
  if (isWholeLine(command, args)) return wholeLine(command);
  if (/^[\w.-]+\.(?:exe|cmd|bat)$/i.test(command))
    return `is a program of Windows: on Toolyard's host it is ${JSON.stringify(command.replace(/\.\w+$/, ""))}`;
  return problemOfPath(command) ?? (command.includes("/") ? problemOfRelative(command, workingDirectory) : null);
}

/** A path may have spaces; the name of a program that is looked for on PATH has none. */
function isWholeLine(command: string, args: readonly string[]): boolean {
  const [program = "", next = ""] = command.split(/\s+/);
  if (program === command) return false;
  if (!program.includes("/")) return true;
  return args.length === 0 && (/^["'$~/-]/.test(next) || SCRIPT.test(next));
}

function wholeLine(command: string): string {
  const needsShell = /["'`\\$|&;<>*]/.test(command);
  const [program, ...rest] = command.split(/\s+/);
  const split = `command ${JSON.stringify(program)}, args ${JSON.stringify(rest)}`;
  return `is a whole command line, and no shell reads it: give the program as command and each argument by itself in args${needsShell ? "" : `: ${split}`}`;
}

function problemOfFolder(path: string): string | null {
  return problemOfPath(path) ?? (path.startsWith("/") ? null : "must be an absolute path, as in /home/you/greeter");
}

/** The fault of a path, or of an argument that may be one, at any position. */
function problemOfPath(text: string): string | null {
  if (/^~[\w-]*(?:\/|$)/.test(text))
    return "begins with ~, which only a shell replaces: give the whole path, as in /home/you/greeter";
  const variable = VARIABLE.exec(text)?.[0];
  if (variable !== undefined)
    return `begins with ${variable}, which only a shell or an editor replaces: give what it stands for`;
  if (WINDOWS_PATH.test(text))
    return "is a path of Windows: servers run on Toolyard's host, where paths are like /home/you/greeter";
  return null;
}

function problemOfRelative(path: string, workingDirectory: string | null): string | null {
  if (path.startsWith("/") || workingDirectory !== null) return null;
  if (/^[a-z]+:/i.test(path)) return null; // deno run https://…
  return "is a relative path, and a server starts in an empty folder of its own: give the whole path, or the workingDirectory that it is in";
}
