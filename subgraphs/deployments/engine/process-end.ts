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

const READ_ONLY = /\bEROFS\b|read-only file system/i;
const IS_READ_ONLY = "Its image is read-only: the launch's writablePaths name folders that it may write to.";

/** A hint of what may help a server that has ended, by its last lines, in a sentence; null: they show nothing of that. */
export async function adviceFor(
  { launch }: Deployment,
  runtime: Runtime,
  handle: ReplicaHandle,
): Promise<string | null> {
  if (launch.kind !== "image") return null;
  const lines = await runtime.logs(handle, LOOKED_AT);
  return lines.some(({ text }) => READ_ONLY.test(text)) ? IS_READ_ONLY : null;
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
