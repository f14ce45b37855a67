import type { ContainerInspectInfo } from "dockerode";
import { exitOf } from "../container/exit-code.ts";
import type { ReplicaLiveness } from "../runtime.ts";

const MEBIBYTE = 1_048_576;

/** How a container ended. */
export function endOf({ State, HostConfig }: Pick<ContainerInspectInfo, "State" | "HostConfig">): ReplicaLiveness {
  const { ExitCode: code, OOMKilled: ranOut } = State;
  const exit = exitOf(code);
  const memory = `ran out of memory, of which it may use ${Math.round((HostConfig.Memory ?? 0) / MEBIBYTE)} MB`;
  // Podman does not tell one from the other.
  const mostLikely = exit.signal === "SIGKILL" ? `Most likely it ${memory}; else somebody killed it.` : null;
  const why = ranOut ? `It ${memory}.` : mostLikely;
  return {
    alive: false,
    ...exit,
    detail: State.Error || null,
    ...(why !== null && { why }),
  };
}
