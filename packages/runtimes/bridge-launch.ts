import { bridgeCommand, type BridgeCommandOptions } from "@toolyard/bridge/arguments.ts";
import { allowanceOf } from "./resources.ts";
import type { ReplicaLaunch, ReplicaSpec } from "./runtime.ts";

/** What a runtime decides about a bridge: where it is and listens, and what its launch's command is there. */
export type BridgePlace = Pick<
  BridgeCommandOptions,
  "entry" | "host" | "port" | "listenFd" | "workingDirectory" | "command" | "args"
>;

/** The command line of the bridge of a launch on stdio. */
export function bridgeLaunch(
  launch: Extract<ReplicaLaunch, { kind: "stdio" }>,
  resources: ReplicaSpec["resources"],
  place: BridgePlace,
): { args: string[] } {
  const { sessions, timeoutSeconds, startTimeoutSeconds, maxSessions, idleSeconds, maxMessageBytes } = launch;
  const { memoryMb, processes } = allowanceOf(resources);
  return bridgeCommand({
    ...place,
    sessions: sessions === "SHARED" ? "shared" : "isolated",
    timeoutSeconds,
    startTimeoutSeconds,
    maxSessions,
    idleSeconds,
    maxMessageBytes,
    memoryMb,
    maxTasks: processes,
  });
}
