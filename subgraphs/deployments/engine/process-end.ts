import type { ReplicaHandle, ReplicaLiveness, Runtime } from "@toolyard/runtimes/runtime.ts";
import type { Deployment, Replica } from "../deployment.ts";
import { asSentence } from "../reason.ts";

const LOOKED_AT = 20;
const LONGEST = 500;
export const LAST_LINE = "Its last line was: ";
/** A process that ends sooner than this after its start ended "at once". */
const AT_ONCE_MS = 5_000;

/**
 * The last line that the replica printed, as a sentence; null when there is none. Lines on stderr are preferred, since they tell more. `hide`
 * is applied to the line before it is cut.
 */
export async function lastOutput(
  runtime: Runtime,
  handle: ReplicaHandle | null,
  hide: (text: string) => string,
): Promise<string | null> {
  if (!handle) return null;
  const lines = (await runtime.logs(handle, LOOKED_AT)).filter(({ text }) => text.trim() !== "");
  const line =
    lines.findLast(({ stream }) => stream === "STDERR") ?? lines.findLast(({ stream }) => stream === "STDOUT");
  return line ? asSentence(`${LAST_LINE}${hide(line.text.trim()).slice(0, LONGEST)}`) : null;
}

/** Of containers, by a launch's kind: lines that a server, its bridge or the container's init (catatonit) prints, and what may help. */
const ADVICE: { kinds: readonly Deployment["launch"]["kind"][]; said: RegExp; advice: string }[] = [
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
];

/** A hint of what may help a server that has ended, by its last lines, in a sentence; null: they show nothing of that. */
export async function adviceFor(
  { launch }: Deployment,
  runtime: Runtime,
  handle: ReplicaHandle,
): Promise<string | null> {
  if (runtime.kind === "PROCESS") return null;
  const fitting = ADVICE.filter(({ kinds }) => kinds.includes(launch.kind));
  if (fitting.length === 0) return null;
  const lines = await runtime.logs(handle, LOOKED_AT);
  return fitting.find(({ said }) => lines.some(({ text }) => said.test(text)))?.advice ?? null;
}

/** How a replica's process ended, in a sentence, as in "The server exited at once with code 1." */
export function describeEnd(replica: Replica, end: Extract<ReplicaLiveness, { alive: false }>, now: number): string {
  const starting = replica.state.phase === "STARTING" && now - replica.state.since < AT_ONCE_MS;
  const soon = starting ? " at once" : "";
  const how =
    end.signal !== null
      ? `was killed by ${end.signal}`
      : end.exitCode !== null
        ? `exited${soon} with code ${end.exitCode}`
        : "is gone; nobody saw how it ended";
  return [`The server ${how}.`, ...(end.why === undefined ? [] : [end.why])].join(" ");
}
