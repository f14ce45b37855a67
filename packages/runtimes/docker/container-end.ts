import { constants } from "node:os";
import type { ContainerInspectInfo } from "dockerode";
import type { ReplicaLiveness } from "../runtime.ts";

const SIGNAL_BASE = 128;
const MEBIBYTE = 1_048_576;
const SIGNALS = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name]));

export const NOBODY_KNOWS = {
  alive: false,
  exitCode: null,
  signal: null,
  detail: null,
} as const satisfies ReplicaLiveness;

/** How a container ended. A program that a signal ended is told as its init tells it, by 128 and the signal's number. */
export function endOf({ State, HostConfig }: Pick<ContainerInspectInfo, "State" | "HostConfig">): ReplicaLiveness {
  const { ExitCode: code, OOMKilled: ranOut } = State;
  const signal = SIGNALS.get(code - SIGNAL_BASE) ?? null;
  const memory = `ran out of memory, of which it may use ${Math.round((HostConfig.Memory ?? 0) / MEBIBYTE)} MB`;
  // Podman does not tell one from the other.
  const mostLikely = signal === "SIGKILL" ? `Most likely it ${memory}; else somebody killed it.` : null;
  const why = ranOut ? `It ${memory}.` : mostLikely;
  return {
    alive: false,
    exitCode: signal === null ? code : null,
    signal,
    detail: State.Error || null,
    ...(why !== null && { why }),
  };
}
