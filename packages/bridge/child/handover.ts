import type { ChildProcess } from "node:child_process";
import { closeSync, readFileSync } from "node:fs";
import type { Writable } from "node:stream";
import { fileURLToPath } from "node:url";

/**
 * Values for a program that neither its command line, which everybody can read, nor its environment may contain: a launch's
 * environment can make the loader, Node or a shell run code, so only the launch's own program is started with it.
 * It comes by pipes that the program inherits, from this descriptor on.
 */
export const FIRST_INHERITED = 3;

/** The values that a bridge inherits. */
export interface Handover {
  /** The bearer token required of clients. */
  token: string;
  /** Marks the bridge's own lines in its log: see `markOf`. */
  logKey: string;
  /** Secrets that the bridge hides in its log, and in errors of servers. */
  secrets: readonly string[];
  /** The environment of the servers that it starts. The bridge's own is empty. */
  environment: Record<string, string>;
  /** The `setpriv` that has the kernel kill servers with their bridge; null when something else does. */
  setpriv: string | null;
  /** Where servers' folders are made. */
  temporaryDirectory: string;
  /** Files in which the kernel counts the processes that it ended here for want of memory. @default the container's */
  memoryKillCounts?: readonly string[];
}

const EXEC = fileURLToPath(new URL("./exec.mjs", import.meta.url));

/**
 * The command line that becomes `argv`, run from `file`, once it has inherited its environment as JSON: for use when other
 * programs, started without one, come first. It waits for that environment, and ends when none comes.
 */
export function execCommand(file: string, argv: readonly string[]): string[] {
  return [process.execPath, "--disable-warning=ExperimentalWarning", EXEC, file, ...argv];
}

/** `stdio` of a `spawn` whose child inherits `count` texts. */
export function pipesFor(count: number): "pipe"[] {
  return Array.from({ length: count }, () => "pipe");
}

/** Gives a just-spawned child its inheritance; `spawn` has already passed descriptors. */
export function handOver(child: ChildProcess, inherited: readonly (string | number)[]): void {
  for (const [at, text] of inherited.entries()) {
    if (typeof text === "number") continue;
    const pipe = child.stdio[FIRST_INHERITED + at] as Writable; // `pipesFor` made it one
    // A child that ended first tells so by its exit.
    pipe.on("error", () => undefined);
    // Reading is not its purpose, and it would be open until the child ends.
    pipe.end(text, () => pipe.destroy());
  }
}

/** Where nothing can be inherited, as in a container, this variable has the values; whoever starts the bridge sets no other for it. */
export const HANDOVER_VARIABLE = "TOOLYARD_HANDOVER";

/**
 * Reads the values that this bridge inherits.
 * @throws Error when nothing was handed over, or not all of it.
 */
export function takeHandover(env: Readonly<Record<string, string | undefined>>): Handover {
  const { [HANDOVER_VARIABLE]: given } = env;
  const text = given ?? readFileSync(FIRST_INHERITED, "utf8");
  if (given === undefined) closeSync(FIRST_INHERITED);
  // Written by `handOver` alone, and no JSON unless it is all there.
  return JSON.parse(text) as Handover;
}
