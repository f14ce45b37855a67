import { AT_ONCE, AT_ONCE_MS, howEnded } from "@toolyard/bridge/child/how-ended.ts";
import type { ReplicaLiveness, ReplicaLogLine } from "@toolyard/runtimes/runtime.ts";
import type { Deployment, Replica } from "../deployment.ts";
import { asSentence } from "../reason.ts";

/** How many of a replica's last lines are looked at. */
export const LOOKED_AT = 20;
const LONGEST = 500;
export const LAST_LINE = "Its last line was: ";

/**
 * The last of these lines that a replica printed, as a sentence; null when there is none. Lines on stderr are preferred, since they tell more. `hide`
 * is applied to the line before it is cut.
 */
export function lastOutput(lines: readonly ReplicaLogLine[], hide: (text: string) => string): string | null {
  const printed = lines.filter(({ text }) => text.trim() !== "");
  const line =
    printed.findLast(({ stream }) => stream === "STDERR") ?? printed.findLast(({ stream }) => stream === "STDOUT");
  return line ? asSentence(`${LAST_LINE}${hide(line.text.trim()).slice(0, LONGEST)}`) : null;
}

type Launch = Pick<Deployment["launch"], "kind"> & { args?: readonly string[] };
/** So interpreters word that they do not find the file which they are to run. */
const MISSING = /cannot find|can(?:no|')t open|no such file|not found/i;

/** Of containers, by a launch's kind: lines that a server, its bridge or the container's init (catatonit) prints, and what may help. */
const ADVICE: {
  kinds: readonly Launch["kind"][];
  said: { test(line: string, launch: Launch): boolean };
  advice: string;
}[] = [
  {
    kinds: ["image"],
    said: /\bEROFS\b|read-only file system/i,
    advice: "Its image is read-only: the launch's writablePaths name folders that it may write to.",
  },
  {
    kinds: ["image"],
    said: /failed to exec pid1: No such file/,
    advice:
      "Its image has no such command: the launch's args are those of its entry point, and begin with a command where it has none.",
  },
  {
    kinds: ["stdio"],
    said: /bridge: (?:command not found in PATH|no executable file at)/,
    advice: "It runs in a container: its command has to be in the image of MCP_RUNNER_IMAGE.",
  },
  {
    kinds: ["stdio", "http"],
    said: {
      test: (line, { args = [] }) =>
        MISSING.test(line) && args.some((argument) => argument.startsWith("/") && line.includes(argument)),
    },
    advice:
      "It runs in a container, which has none of the host's files: deploy it on the runtime process, or as a package (npx, uvx) or an image.",
  },
];

/** A reason, and after it what may help the server, by lines that it or what runs it printed. */
export function withAdvice(
  reason: string,
  { launch, runtime }: Pick<Deployment, "runtime"> & { launch: Launch },
  lines: readonly string[],
): string {
  if (runtime === "PROCESS") return reason;
  const fitting = ADVICE.filter(({ kinds }) => kinds.includes(launch.kind));
  const advice = fitting.find(({ said }) => lines.some((line) => said.test(line, launch)))?.advice;
  return advice === undefined ? reason : `${reason} ${advice}`;
}

/** How a replica's process ended, in a sentence, as in "The server exited with code 1 at once." */
export function describeEnd(
  replica: Pick<Replica, "state">,
  end: Extract<ReplicaLiveness, { alive: false }>,
  now: number,
): string {
  const starting = replica.state.phase === "STARTING" && now - replica.state.since < AT_ONCE_MS;
  const { exitCode: code, signal } = end;
  const isUnseen = code === null && signal === null;
  const how = isUnseen ? "is gone; nobody saw how it ended" : howEnded({ code, signal }) + (starting ? AT_ONCE : "");
  return [`The server ${how}.`, ...(end.why === undefined ? [] : [end.why])].join(" ");
}
