import { statSync } from "node:fs";
import { homedir } from "node:os";
import { basename, isAbsolute, join, resolve } from "node:path";
import type { LaunchInput as GraphLaunchInput } from "@toolyard/launch";
import { isInterpreter } from "@toolyard/launch/command-line.ts";
import { UsageError } from "./usage-error.ts";

/** The graph's LaunchInput, as far as the command line fills it. */
export type LaunchInput = Taken<
  | { stdio: ProgramInput & { sessions?: "SHARED" } }
  | { http: ProgramInput & { path?: string } }
  | { image: StartedInput & { image: string; port?: number; path?: string } }
  | { remote: { url: string; headers: Variable[]; options?: LaunchOptions } }
>;

/** Every kind of launch has the same. */
export type LaunchOptions = NonNullable<NonNullable<GraphLaunchInput["image"]>["options"]>;

/** Compiles only while the graph accepts this shape. */
type Taken<Input extends GraphLaunchInput> = Input;

interface StartedInput {
  args: string[];
  env: Variable[];
  writablePaths?: string[];
  options?: LaunchOptions;
}

interface ProgramInput extends StartedInput {
  command: string;
  workingDirectory?: string;
}

export interface Variable {
  name: string;
  value: string;
  secret: boolean;
}

/** Commands that run packages by name: the first argument that is no option is such a name, whatever files there are. */
const PACKAGE_RUNNERS = ["npx", "uvx", "bunx", "pipx"];
/** Options followed by a name that is no file: `python -m server`, `node -e …`. */
const NAMES_FOLLOW = [
  "-m",
  "-c",
  "-e",
  "-p",
  "--eval",
  "--print",
  "--import",
  "--require",
  "-r",
  "--package",
  "--from",
  "--with",
];

/**
 * A command line with the paths in it made absolute: it runs elsewhere. Paths are arguments that begin with `.` or `~`, and names of
 * files and folders in `folder`.
 * @throws UsageError where a file of `folder` is not there, or the command is a whole line
 */
export function absoluteCommand(argv: readonly string[], folder: string): { command: string; args: string[] } {
  const [first = "", ...rest] = argv;
  if (first === "") throw new UsageError("A command is missing after `--`.");
  if (/\s/.test(first) && !exists(resolve(folder, first))) {
    throw new UsageError(
      `${JSON.stringify(first)} is a whole command line. Give its parts apart, without quotes around all of it: -- ${first.trim()}${rest.map((arg) => ` ${arg}`).join("")}`,
    );
  }
  const scheme = /^(\w+):\/\//.exec(first)?.[1]?.toLowerCase();
  if (scheme !== undefined) {
    throw new UsageError(
      scheme.startsWith("http")
        ? `A URL takes no command and no arguments: give ${first} alone.`
        : `A server that runs elsewhere is called at a URL with https:// or http://, not ${scheme}://.`,
    );
  }
  if (
    rest.length === 0 &&
    /^[\w-]+(\.[\w-]+)+(:\d+)?\/|^[\w.-]+:\d+(\/|$)/.test(first) &&
    !exists(resolve(folder, first))
  ) {
    throw new UsageError(`There is no file ${first}. If that is where the server runs, give its URL: https://${first}`);
  }
  const command = /^[.~]|\//.test(first) ? mustExist(absolute(first, folder), first) : first;
  // An interpreter's file must exist.
  let isNext = { package: PACKAGE_RUNNERS.includes(basename(command)), file: isInterpreter(command) };
  const args = rest.map((arg, index) => {
    if (arg.startsWith("-")) {
      const [, option, value] = /^(--?[\w-]+=)(.+)$/.exec(arg) ?? [];
      return option !== undefined && value !== undefined && looksLikePath(value, folder)
        ? option + absolute(value, folder)
        : arg;
    }
    if (NAMES_FOLLOW.includes(rest[index - 1] ?? "")) {
      isNext = { ...isNext, file: false };
      return arg;
    }
    const was = isNext;
    isNext = { package: false, file: false };
    if (was.package && !/^[.~/]/.test(arg)) return arg;
    if (was.file && /\.\w+$/.test(arg)) return mustExist(absolute(arg, folder), arg);
    return looksLikePath(arg, folder) ? absolute(arg, folder) : arg;
  });
  return { command, args };
}

/** The path from `folder`, `~` being the user's home. */
export function absolute(path: string, folder: string): string {
  return path === "~" || path.startsWith("~/") ? join(homedir(), path.slice(1)) : resolve(folder, path);
}

function looksLikePath(text: string, folder: string): boolean {
  if (/^(\.{1,2}|~)(\/|$)/.test(text)) return true;
  // `user:pass`, URLs and @scope/package are not looked for.
  return !/^@|:/.test(text) && exists(resolve(folder, text));
}

function mustExist(path: string, given: string): string {
  // An absolute path may be meant where the server runs, as in an image.
  if (exists(path) || isAbsolute(given)) return path;
  throw new UsageError(`There is no file ${path}${given === path ? "" : ` (${given})`}.`);
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}
