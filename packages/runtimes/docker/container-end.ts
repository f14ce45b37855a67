import type { ContainerInspectInfo } from "dockerode";
import { exitOf } from "../container/exit-code.ts";
import { outOfMemory } from "../container/out-of-memory.ts";
import type { ReplicaLiveness } from "../runtime.ts";

const MEBIBYTE = 1_048_576;

/** How a container ended. */
export function endOf({ State, HostConfig }: Pick<ContainerInspectInfo, "State" | "HostConfig">): ReplicaLiveness {
  const { ExitCode: code, OOMKilled: ranOut } = State;
  const exit = exitOf(code);
  const memory = outOfMemory(HostConfig.Memory ? Math.round(HostConfig.Memory / MEBIBYTE) : null);
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
