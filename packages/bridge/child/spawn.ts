import { spawn, type ChildProcessByStdio } from "node:child_process";
import { accessSync, constants, mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join, resolve } from "node:path";
import type { Readable, Writable } from "node:stream";

import { execCommand, handOver, pipesFor } from "./handover.ts";

/**
 * Starts the process of a child. Nothing but Node's own modules is loaded here: main.ts starts the first child with this
 * before it loads the rest of the bridge, so that both start side by side.
 */

export interface LaunchOptions {
  command: string;
  args: readonly string[];
  /** Where the command runs; null: in a working folder of its own that is removed after it. */
  workingDirectory: string | null;
  /** The command's environment; nothing else is started with it. */
  environment: Readonly<Record<string, string>>;
  /** As in `Handover`. @default null */
  setpriv?: string | null;
  /** Where children's folders are made. @default the system's */
  temporaryDirectory?: string;
}

/** A launch whose command was found: starting it again cannot fail for a reason that was known before. */
export interface Launch {
  file: string;
  /** The arguments, beginning with the name by which the command is called. */
  argv: readonly string[];
  workingDirectory: string | null;
  environment: Readonly<Record<string, string>>;
  setpriv: string | null;
  temporaryDirectory: string;
}

export interface SpawnedProcess {
  readonly process: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly startedAt: number;
  /** Its own folder, with its TMPDIR and, unless one was given, its working directory. */
  readonly folder: string;
  /** Set when the system failed to start it (no memory, too many processes). */
  spawnError: Error | null;
}

/** The launch cannot be run. The message is one sentence a person can act on. */
export class LaunchError extends Error {
  override readonly name = "LaunchError";
}

function find(command: string, path: string | undefined, from: string): string | null {
  const candidates = command.includes("/")
    ? [resolve(from, command)]
    : (path ?? "").split(delimiter).map((folder) => resolve(folder, command));
  for (const candidate of candidates) {
    try {
      accessSync(candidate, constants.X_OK);
      if (statSync(candidate).isFile()) return candidate;
    } catch (error) {
      // A missing or non-executable file is an expected answer; any other error is worth knowing.
      const reason = error instanceof Error && "code" in error ? error.code : null;
      if (
        reason !== "ENOENT" &&
        reason !== "EACCES" &&
        reason !== "ENOTDIR" &&
        reason !== "ELOOP" &&
        reason !== "ENAMETOOLONG"
      )
        throw error;
    }
  }
  return null;
}

/**
 * Looks the command up once.
 * @throws LaunchError when the command or the working directory is not there.
 */
export function prepareLaunch(options: LaunchOptions): Launch {
  const { command, args, workingDirectory, environment, setpriv = null, temporaryDirectory = tmpdir() } = options;
  if (workingDirectory !== null) {
    let isDirectory = false;
    try {
      isDirectory = statSync(workingDirectory).isDirectory();
    } catch (cause) {
      throw new LaunchError(`the working directory does not exist: ${workingDirectory}`, { cause });
    }
    if (!isDirectory) throw new LaunchError(`the working directory is not a directory: ${workingDirectory}`);
  }
  const file = find(command, environment.PATH, workingDirectory ?? process.cwd());
  if (file === null) {
    throw new LaunchError(
      command.includes("/") ? `no executable file at ${command}` : `command not found in PATH: ${command}`,
    );
  }
  return {
    file,
    // A command found by PATH keeps its short name: some programs behave according to that name.
    argv: [command.includes("/") ? file : command, ...args],
    workingDirectory,
    environment,
    setpriv,
    temporaryDirectory,
  };
}

/** Starts a child in a process group and folder of its own. The caller must ensure that both are removed. */
export function spawnProcess(launch: Launch): SpawnedProcess {
  const folder = mkdtempSync(join(launch.temporaryDirectory, "toolyard-bridge-"));
  const temporary = join(folder, "tmp");
  const working = join(folder, "work");
  mkdirSync(temporary);
  mkdirSync(working);
  let process_: ChildProcessByStdio<Writable, Readable, Readable>;
  try {
    process_ = start(launch, working, { ...launch.environment, TMPDIR: temporary, TMP: temporary, TEMP: temporary });
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
  const spawned: SpawnedProcess = { process: process_, startedAt: Date.now(), folder, spawnError: null };
  process_.once("error", (error) => {
    spawned.spawnError = error;
  });
  return spawned;
}

function start(launch: Launch, working: string, env: Record<string, string>): SpawnedProcess["process"] {
  const { file, argv, setpriv } = launch;
  const options = { cwd: launch.workingDirectory ?? working, detached: true };
  if (setpriv === null) {
    const [argv0 = file, ...args] = argv;
    return spawn(file, args, { ...options, argv0, env, stdio: ["pipe", "pipe", "pipe"] });
  }
  // The kernel kills the child when the bridge is killed: a hint by closing stdin is not enough, real servers ignore it.
  const child = spawn(setpriv, ["--pdeathsig", "KILL", "--", ...execCommand(file, argv)], {
    ...options,
    env: {},
    stdio: ["pipe", "pipe", "pipe", ...pipesFor(1)],
  });
  handOver(child, [JSON.stringify(env)]);
  return child as SpawnedProcess["process"]; // its first three are pipes
}
