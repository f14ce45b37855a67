import { accessSync, constants } from "node:fs";
import { delimiter, isAbsolute, join, resolve } from "node:path";
import { ToolyardError } from "@toolyard/service-kit/errors.ts";
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
    throw new ToolyardError("BAD_USER_INPUT", `There is no command ${JSON.stringify(command)}: ${whyNot(file)}.`);
  }
  const found = findOnPath(command, path);
  if (found !== null) return found;
  throw new ToolyardError(
    "BAD_USER_INPUT",
    `There is no command ${JSON.stringify(command)} on the PATH of Toolyard's host. ` +
      "Install it there, give its full path, or set PATH in the launch's env.",
  );
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

function whyNot(file: string): string {
  const status = statusOf(file);
  if (!status) return `${file} does not exist`;
  return status.isFile() ? `${file} is not executable` : `${file} is not a file`;
}
