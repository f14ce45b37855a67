import type { parseArgs, ParseArgsOptionsConfig } from "node:util";
import type { Graph } from "./graph.ts";
import type { SessionStore } from "./session-store.ts";
import type { Terminal } from "./terminal.ts";
import { UsageError } from "./usage-error.ts";

/** The surroundings of a command: folders, terminal, graph. */
export interface CommandContext {
  terminal: Terminal;
  env: Readonly<Record<string, string | undefined>>;
  /** The user's working directory, the base of relative paths. */
  folder: string;
  /** Toolyard's DATA_DIR, where this is its host. */
  dataDir: string;
  /** The address of the gateway, without /graphql. */
  url: string;
  sessions: SessionStore;
  graph: Graph;
  /** Aborts at Ctrl-C. */
  signal: AbortSignal;
  /** The command line that runs a command here, as in `npm run toolyard -- deploy greeter`. */
  hint(command: string): string;
}

/** The values of options, as parsed. */
export type Values<Options extends ParseArgsOptionsConfig> = ReturnType<
  typeof parseArgs<{ options: Options }>
>["values"];

interface Given<Options extends ParseArgsOptionsConfig> {
  positionals: string[];
  values: Values<Options>;
  /** The arguments after `--`; null: there is no `--`. */
  rest: string[] | null;
}

export interface CommandDefinition<Options extends ParseArgsOptionsConfig> {
  name: string;
  /** One line, for the list of commands. */
  summary: string;
  /** The arguments after the name, as in `NAME [--last N]`. */
  usage: string;
  /** How many positional arguments it takes. */
  positionals: readonly [min: number, max: number];
  options: Options;
  /** A line for each option, and further notes. */
  help: string;
  /** @returns the exit code; 0 where nothing is returned. */
  run(context: CommandContext, given: Given<Options>): Promise<number | void>;
}

/** Any command: its options are checked where it is defined. */
export type Command = CommandDefinition<ParseArgsOptionsConfig>;

/** A command whose values have the types of its options. */
export function defineCommand<const Options extends ParseArgsOptionsConfig>(
  definition: CommandDefinition<Options>,
): Command {
  // `run` is called only with values parsed by the definition's own options.
  return definition as unknown as Command;
}

/** An option's whole number; null where it is not given. @throws UsageError */
export function wholeNumber(option: string, text: string | undefined): number | null {
  if (text === undefined) return null;
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`${option} takes a whole number, not ${JSON.stringify(text)}.`);
  return Number(text);
}
