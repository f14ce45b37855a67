import { fileURLToPath } from "node:url";
import { LIMITS, type Limit } from "@toolyard/launch/limits.ts";

const START = fileURLToPath(new URL("./start.mjs", import.meta.url));

export interface BridgeArguments {
  host: string;
  /** -1 where a socket that listens is inherited instead. */
  port: number;
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

const rangeOf = ({ least, most }: Limit): [number, number] => [least, most];

function wholeNumber(name: string, value: string, least: number, most: number): number {
  const number = Number(value);
  if (!/^\d+$/.test(value) || number < least || number > most)
    throw new UsageError(`--${name} must be a whole number from ${least} to ${most}, not "${value}"`);
  return number;
}

/**
 * Reads the arguments after the script's name.
 * @throws UsageError
 */
export function parseArguments(argv: readonly string[]): BridgeArguments {
  const parsed: BridgeArguments = {
    host: "127.0.0.1",
    port: -1,
    listenFd: null,
    sessions: "isolated",
    ...defaults,
    memoryMb: null,
    maxTasks: null,
    workingDirectory: null,
    command: "",
    args: [],
  };
  const end = argv.indexOf("--");
  if (end === -1 || argv[end + 1] === undefined || argv[end + 1] === "")
    throw new UsageError(`no command after "--"; ${usage}`);
  for (let at = 0; at < end; at += 2) {
    const flag = argv[at] ?? "";
    const value = at + 1 < end ? argv[at + 1] : undefined;
    if (value === undefined) throw new UsageError(`${flag} needs a value; ${usage}`);
    switch (flag) {
      case "--host":
        parsed.host = value;
        break;
      case "--port":
        parsed.port = wholeNumber("port", value, 0, 65_535);
        break;
      case "--listen-fd":
        parsed.listenFd = wholeNumber("listen-fd", value, 3, 65_535);
        break;
      case "--sessions":
        if (value !== "isolated" && value !== "shared")
          throw new UsageError(`--sessions must be isolated or shared, not "${value}"`);
        parsed.sessions = value;
        break;
      case "--max-sessions":
        parsed.maxSessions = wholeNumber("max-sessions", value, ...rangeOf(LIMITS.stdio.maxSessions));
        break;
      case "--idle-seconds":
        parsed.idleSeconds = wholeNumber("idle-seconds", value, ...rangeOf(LIMITS.stdio.idleSeconds));
        break;
      case "--timeout-seconds":
        parsed.timeoutSeconds = wholeNumber("timeout-seconds", value, 1, 86_400);
        break;
      case "--start-timeout-seconds":
        parsed.startTimeoutSeconds = wholeNumber("start-timeout-seconds", value, 1, 86_400);
        break;
      case "--max-message-bytes":
        parsed.maxMessageBytes = wholeNumber("max-message-bytes", value, ...rangeOf(LIMITS.stdio.maxMessageBytes));
        break;
      case "--memory-mb":
        parsed.memoryMb = wholeNumber("memory-mb", value, 1, Number.MAX_SAFE_INTEGER);
        break;
      case "--max-tasks":
        parsed.maxTasks = wholeNumber("max-tasks", value, 1, Number.MAX_SAFE_INTEGER);
        break;
      case "--working-directory":
        parsed.workingDirectory = value;
        break;
      default:
        throw new UsageError(`unknown option ${flag}; ${usage}`);
    }
  }
  if (parsed.port === -1 && parsed.listenFd === null) throw new UsageError(`--port is missing; ${usage}`);
  if (parsed.port !== -1 && parsed.listenFd !== null)
    throw new UsageError(`--port and --listen-fd exclude each other; ${usage}`);
  parsed.command = argv[end + 1] ?? "";
  parsed.args = argv.slice(end + 2);
  return parsed;
}

export interface BridgeCommandOptions {
  host?: string;
  /** Either this, or `listenFd`. */
  port?: number;
  /** Descriptor of a socket that the bridge inherits and that listens already. */
  listenFd?: number;
  sessions?: "isolated" | "shared";
  maxSessions?: number | null;
  idleSeconds?: number | null;
  timeoutSeconds?: number;
  startTimeoutSeconds?: number;
  maxMessageBytes?: number | null;
  memoryMb?: number | null;
  maxTasks?: number | null;
  command: string;
  args: readonly string[];
  workingDirectory?: string | null;
  /** Absolute path of the script. @default start.mjs */
  entry?: string | undefined;
}

/** The command line of a bridge, for `process.execPath`. It inherits a `Handover`, and needs no environment. */
export function bridgeCommand(options: BridgeCommandOptions): { args: string[] } {
  const {
    host,
    port,
    listenFd,
    sessions,
    maxSessions,
    idleSeconds,
    timeoutSeconds,
    startTimeoutSeconds,
    maxMessageBytes,
    memoryMb,
    maxTasks,
    command,
    args,
    workingDirectory = null,
    entry = START,
  } = options;
  const flags: [string, string | number | undefined | null][] = [
    ["--host", host],
    ["--port", port],
    ["--listen-fd", listenFd],
    ["--sessions", sessions],
    ["--max-sessions", maxSessions],
    ["--idle-seconds", idleSeconds],
    ["--timeout-seconds", timeoutSeconds],
    ["--start-timeout-seconds", startTimeoutSeconds],
    ["--max-message-bytes", maxMessageBytes],
    ["--memory-mb", memoryMb],
    ["--max-tasks", maxTasks],
    ["--working-directory", workingDirectory],
  ];
  // A bridge drops at once nearly all it allocates; with V8's default heap settings it would keep 50 MB more once it was busy.
  const given = flags.flatMap(([flag, value]) => (value === undefined || value === null ? [] : [flag, String(value)]));
  return {
    // SIGUSR1 would open Node's debugger to the servers, which can send it.
    args: ["--max-semi-space-size=1", "--disable-sigusr1", entry, ...given, "--", command, ...args],
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
