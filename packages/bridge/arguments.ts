import { fileURLToPath } from "node:url";
import { LIMITS, type Limit } from "@toolyard/launch/limits.ts";

const START = fileURLToPath(new URL("./start.mjs", import.meta.url));

export interface BridgeArguments {
  host: string;
  /** Null where a socket that listens is inherited instead. */
  port: number | null;
  /** Descriptor of that socket. */
  listenFd: number | null;
  sessions: "isolated" | "shared";
  maxSessions: number;
  idleSeconds: number;
  timeoutSeconds: number;
  startTimeoutSeconds: number;
  maxMessageBytes: number;
  /** For the bridge and its children together; null: limited only by the machine. */
  memoryMb: number | null;
  /** Processes and threads, likewise. */
  maxTasks: number | null;
  workingDirectory: string | null;
  command: string;
  args: string[];
}

/** The defaults of a launch. */
export const defaults = {
  maxSessions: LIMITS.stdio.maxSessions.whenNull,
  idleSeconds: LIMITS.stdio.idleSeconds.whenNull,
  timeoutSeconds: LIMITS.options.timeoutSeconds.default,
  startTimeoutSeconds: LIMITS.health.startTimeoutSeconds.default,
  maxMessageBytes: LIMITS.stdio.maxMessageBytes.whenNull,
};

/** The command line is not usable. The message is one sentence a person can act on. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

const usage =
  "usage: main.ts --port N [--host 127.0.0.1] | --listen-fd N [--sessions isolated|shared] " +
  `[--max-sessions ${defaults.maxSessions}] [--idle-seconds ${defaults.idleSeconds}] [--timeout-seconds ${defaults.timeoutSeconds}] ` +
  `[--start-timeout-seconds ${defaults.startTimeoutSeconds}] [--max-message-bytes ${defaults.maxMessageBytes}] ` +
  "[--memory-mb N] [--max-tasks N] [--working-directory PATH] -- command args…";

/** The options that are whole numbers, with their bounds. */
const RANGES = {
  port: { least: 0, most: 65_535 },
  listenFd: { least: 3, most: 65_535 },
  maxSessions: LIMITS.stdio.maxSessions,
  idleSeconds: LIMITS.stdio.idleSeconds,
  timeoutSeconds: { least: 1, most: 86_400 },
  startTimeoutSeconds: { least: 1, most: 86_400 },
  maxMessageBytes: LIMITS.stdio.maxMessageBytes,
  memoryMb: { least: 1, most: Number.MAX_SAFE_INTEGER },
  maxTasks: { least: 1, most: Number.MAX_SAFE_INTEGER },
};
type NumberOption = keyof typeof RANGES;

/** All options with their flags: `--listen-fd`. */
const FLAGS = (["host", "sessions", "workingDirectory", ...Object.keys(RANGES)] as ("host" | NumberOption)[]).map(
  (name) => [name, `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`] as const,
);

/**
 * Reads the arguments after the script's name.
 * @throws UsageError
 */
export function parseArguments(argv: readonly string[]): BridgeArguments {
  const end = argv.indexOf("--");
  const [command = "", ...args] = end === -1 ? [] : argv.slice(end + 1);
  if (command === "") throw new UsageError(`no command after "--"; ${usage}`);
  const given: Record<string, string | number> = {};
  for (let at = 0; at < end; at += 2) {
    const flag = argv[at] ?? "";
    const value = at + 1 < end ? argv[at + 1] : undefined;
    if (value === undefined) throw new UsageError(`${flag} needs a value; ${usage}`);
    const [name] = FLAGS.find(([, known]) => known === flag) ?? [];
    if (name === undefined) throw new UsageError(`unknown option ${flag}; ${usage}`);
    given[name] = name in RANGES ? wholeNumber(flag, value, RANGES[name as NumberOption]) : value;
  }
  const { port, listenFd, sessions } = given;
  if (sessions !== undefined && sessions !== "isolated" && sessions !== "shared")
    throw new UsageError(`--sessions must be isolated or shared, not "${sessions}"`);
  if (port === undefined && listenFd === undefined) throw new UsageError(`--port is missing; ${usage}`);
  if (port !== undefined && listenFd !== undefined)
    throw new UsageError(`--port and --listen-fd exclude each other; ${usage}`);
  const absent = { port: null, listenFd: null, memoryMb: null, maxTasks: null, workingDirectory: null };
  // Each option's value has been checked.
  return {
    host: "127.0.0.1",
    sessions: "isolated",
    ...defaults,
    ...absent,
    ...given,
    command,
    args,
  } as BridgeArguments;
}

function wholeNumber(flag: string, value: string, { least, most }: Pick<Limit, "least" | "most">): number {
  const number = Number(value);
  if (!/^\d+$/.test(value) || number < least || number > most)
    throw new UsageError(`${flag} must be a whole number from ${least} to ${most}, not "${value}"`);
  return number;
}

type Optional<Options> = { [Name in keyof Options]?: Options[Name] | null | undefined };

/** `port` or `listenFd`, and whatever is not as by default. */
export interface BridgeCommandOptions extends Optional<Omit<BridgeArguments, "command" | "args">> {
  command: string;
  args: readonly string[];
  /** Absolute path of the script. @default start.mjs */
  entry?: string | undefined;
}

/** The command line of a bridge, for `process.execPath`. It inherits a `Handover`, and needs no environment. */
export function bridgeCommand(options: BridgeCommandOptions): { args: string[] } {
  const { command, args, entry = START } = options;
  const given = FLAGS.flatMap(([name, flag]) => (options[name] == null ? [] : [flag, String(options[name])]));
  return {
    // A bridge drops at once nearly all it allocates; with V8's default heap settings it would keep 50 MB more once it was busy.
    // With half of this, what 32 calls hold would fill it: a fifth more CPU, and no less memory. Threads that are woken for so
    // little garbage would cost another tenth.
    // SIGUSR1 would open Node's debugger to the servers, which can send it.
    args: [
      "--max-semi-space-size=2",
      "--no-parallel-scavenge",
      "--disable-sigusr1",
      entry,
      ...given,
      "--",
      command,
      ...args,
    ],
  };
}

/** Instead of all other arguments: loads the bridge, which fills Node's compile cache, and ends. */
export const WARM_UP_FLAG = "--warm-up";

/**
 * The command line that fills the compile cache, for `process.execPath`: to be run once, outside any sandbox, before the
 * first bridge. Without it bridges that cannot write that cache each take 20 MB more memory and start 30 ms later.
 */
export function warmUpCommand(): { args: string[] } {
  return { args: [START, WARM_UP_FLAG] };
}
