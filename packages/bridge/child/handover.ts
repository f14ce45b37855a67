import type { ChildProcess } from "node:child_process";
import { closeSync, readFileSync } from "node:fs";
import type { Writable } from "node:stream";
import { fileURLToPath } from "node:url";

/**
 * What a program gets that neither its command line, which everybody can read, nor its environment may hold: a launch's
 * environment makes the loader, Node or a shell run code, so no program but the launch's own is ever started with it.
 * It comes by pipes that the program inherits, from this descriptor on.
 */
export const firstInherited = 3;

/** What a bridge inherits. */
export interface Handover {
  /** Wanted from clients as a bearer token. */
  token: string;
  /** Marks the bridge's own lines in its log: see `markOf`. */
  logKey: string;
  /** What the bridge hides in its log, and in errors of servers. */
  secrets: readonly string[];
  /** Of the servers that it starts. The bridge's own is empty. */
  environment: Record<string, string>;
  /** The `setpriv` that has the kernel kill servers with their bridge; null where something else does. */
  setpriv: string | null;
  /** Where servers' folders are made. */
  temporaryDirectory: string;
}

const EXEC = fileURLToPath(new URL("./exec.mjs", import.meta.url));

/**
 * The command line that becomes `argv`, run from `file`, once it has inherited its environment as JSON: for where other
 * programs come first, which are started with none. It waits for that environment, and ends where none comes.
 */
export function execCommand(file: string, argv: readonly string[]): string[] {
  return [process.execPath, "--disable-warning=ExperimentalWarning", EXEC, file, ...argv];
}

/** `stdio` of a `spawn` whose child inherits `count` texts. */
export function pipesFor(count: number): "pipe"[] {
  return Array.from({ length: count }, () => "pipe");
}

/** Gives a child that was just spawned what it inherits; descriptors among it were given by `spawn`. */
export function handOver(child: ChildProcess, inherited: readonly (string | number)[]): void {
  for (const [at, text] of inherited.entries()) {
    if (typeof text === "number") continue;
    const pipe = child.stdio[firstInherited + at] as Writable; // `pipesFor` made it one
    // A child that ended first tells so by its exit.
    pipe.on("error", () => undefined);
    // Reading is not its purpose, and it would be open until the child ends.
    pipe.end(text, () => pipe.destroy());
  }
}

/**
 * Reads what this bridge inherits.
 * @throws Error when nothing was handed over, or not all of it.
 */
export function takeHandover(): Handover {
  const text = readFileSync(firstInherited, "utf8");
  closeSync(firstInherited);
  // Written by `handOver` alone, and no JSON unless it is all there.
  return JSON.parse(text) as Handover;
}
