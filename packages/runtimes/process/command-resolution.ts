import { accessSync, closeSync, constants, openSync, readSync } from "node:fs";
import { delimiter, isAbsolute, join, resolve } from "node:path";
import { systemCodeOf, ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import { commandLineProblems, interpreterOf } from "@toolyard/launch/command-line.ts";
import { statusOf } from "./paths.ts";

/**
 * The file that `command` names, as a shell would find it: with a slash in it relative to `workingDirectory`, else the
 * first match on `path`. Found before anything is spawned, so that a mistake is told in one clear sentence.
 * @throws ToolyardError BAD_USER_INPUT
 */
export function resolveCommand(command: string, path: string, workingDirectory: string): string {
  if (command === "" || command.includes("\0")) {
    throw new ToolyardError("BAD_USER_INPUT", "The launch names no command.");
  }
  if (command.includes("/")) {
    const file = resolve(workingDirectory, command);
    if (isExecutableFile(file)) return file;
    throw notRunnable(command, whyNot(file, command));
  }
  const found = findOnPath(command, path);
  if (found !== null) return found;
  const mistake = mistakeIn(command);
  if (mistake !== null) throw new ToolyardError("BAD_USER_INPUT", `The command ${JSON.stringify(command)} ${mistake}.`);
  throw new ToolyardError(
    "BAD_USER_INPUT",
    `There is no command ${JSON.stringify(command)} on the PATH of Toolyard's host. ` +
      "Install it there, give its full path, or set PATH in the launch's env.",
  );
}

/**
 * Whether the system would run an executable file, as far as its first line tells.
 * @throws ToolyardError BAD_USER_INPUT
 */
export function checkRunnable(command: string, file: string, path: string): void {
  const reason = whyNotRun(file, path);
  if (reason !== null) throw notRunnable(command, reason);
}

function notRunnable(command: string, reason: string): ToolyardError {
  return new ToolyardError("BAD_USER_INPUT", `The command ${JSON.stringify(command)} cannot be run: ${reason}.`);
}

/** The first executable file of that name on `path`, or null. */
export function findOnPath(program: string, path: string): string | null {
  for (const directory of path.split(delimiter)) {
    if (!isAbsolute(directory)) continue;
    const file = join(directory, program);
    if (isExecutableFile(file)) return file;
  }
  return null;
}

function isExecutableFile(file: string): boolean {
  if (!statusOf(file)?.isFile()) return false;
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    // The one thing `accessSync` says by throwing: not executable.
    return false;
  }
}

function whyNot(file: string, command: string): string {
  const status = statusOf(file);
  if (!status) {
    const mistake = mistakeIn(command);
    return mistake === null ? `${file} does not exist` : `it ${mistake}`;
  }
  if (status.isDirectory()) return `${file} is a folder`;
  if (!status.isFile()) return `${file} is not a file`;
  return `${file} is not executable: make it so (chmod +x)${byInterpreter(file, ", or give")}`;
}

/** A fault of a command that no host could run, as the end of a sentence; null when none is found. */
function mistakeIn(command: string): string | null {
  return commandLineProblems({ command, args: [], workingDirectory: "/" })[0]?.message ?? null;
}

const FIRST_BYTES = 256;

function whyNotRun(file: string, path: string): string | null {
  const firstLine = firstLineOf(file);
  if (!firstLine.startsWith("#!"))
    return interpreterOf(file) === null
      ? null
      : `${file} has no first line that names its interpreter (#!)${byInterpreter(file, ": give")}`;
  const line = firstLine.slice(2).trimStart();
  if (line.endsWith("\r"))
    return `the first line of ${file} ends in a carriage return, as on Windows; save it with Unix line endings`;
  const [interpreter = "", ...rest] = line.split(/\s+/).filter((word) => word !== "");
  const said = `${file} is to be run by ${JSON.stringify(interpreter)}, as its first line says`;
  if (!isExecutableFile(interpreter)) return `${said}, which is not there`;
  if (!interpreter.endsWith("/env")) return null;
  const program = rest.find((word) => !word.startsWith("-") && !word.includes("="));
  if (program === undefined || program.includes("/") || findOnPath(program, path) !== null) return null;
  return `${file} is to be run by ${JSON.stringify(program)}, as its first line says, which is not on the PATH`;
}

function byInterpreter(file: string, give: string): string {
  const interpreter = interpreterOf(file);
  return interpreter === null
    ? ""
    : `${give} the command ${JSON.stringify(interpreter)} with ${JSON.stringify(file)} as its first argument`;
}

/** Empty where it cannot be read: programs may be executable only. */
function firstLineOf(file: string): string {
  try {
    const descriptor = openSync(file, "r");
    try {
      const bytes = Buffer.alloc(FIRST_BYTES);
      const [line = ""] = bytes.toString("latin1", 0, readSync(descriptor, bytes)).split("\n", 1);
      return line;
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    if (systemCodeOf(error) === null) throw error;
    return "";
  }
}
