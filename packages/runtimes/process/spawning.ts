import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { constants } from "node:os";
import { handOver } from "@toolyard/bridge/child/handover.ts";
import { messageOf, withoutStop, systemCodeOf, ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import type { LaunchPlan } from "./launch-plan.ts";
import type { ReplicaPaths } from "./replica-records.ts";

/** Errors of `spawn` that the launch is to blame for. */
const OF_THE_LAUNCH = new Set(["ENOENT", "EACCES", "ENOEXEC", "E2BIG", "ENOTDIR", "ELOOP"]);

export type SpawnedChild = ChildProcess & { pid: number };

/**
 * Spawns in a process group and session of its own. Its output goes to files that it holds open itself, so that it
 * neither ends nor blocks when this process does. `onSpawned` is called before it has what it waits for.
 * @throws ToolyardError BAD_USER_INPUT or UPSTREAM_UNAVAILABLE when the system refuses.
 */
export async function spawnReplica(
  plan: LaunchPlan,
  paths: ReplicaPaths,
  onSpawned: (child: SpawnedChild) => void,
): Promise<void> {
  const stdout = openSync(paths.stdout, "a", 0o600);
  let child: ChildProcess;
  try {
    const stderr = openSync(paths.stderr, "a", 0o600);
    try {
      const [file = "", ...args] = plan.argv;
      child = spawn(file, args, {
        cwd: plan.workingDirectory,
        env: plan.environment,
        detached: true,
        stdio: [
          "ignore",
          stdout,
          stderr,
          ...plan.inherited.map((inherited) => (typeof inherited === "string" ? "pipe" : inherited)),
        ],
      });
    } finally {
      closeSync(stderr);
    }
  } finally {
    closeSync(stdout);
  }
  child.unref();
  if (hasPid(child)) {
    onSpawned(child);
    handOver(child, plan.inherited);
    return;
  }
  const [cause]: unknown[] = await once(child, "error");
  const code = OF_THE_LAUNCH.has(systemCodeOf(cause) ?? "") ? "BAD_USER_INPUT" : "UPSTREAM_UNAVAILABLE";
  throw new ToolyardError(code, `The replica's process cannot be started: ${withoutStop(messageOf(cause))}.`, {
    cause,
  });
}

function hasPid(child: ChildProcess): child is SpawnedChild {
  return child.pid !== undefined;
}

/** How a process ended; a sandbox tells by 128 + n that what was in it ended by signal n. */
export function exitOf(
  code: number | null,
  signal: string | null,
  sandboxed: boolean,
): { exitCode: number | null; signal: string | null } {
  if (!sandboxed || code === null || code <= 128) return { exitCode: code, signal };
  const inside = Object.entries(constants.signals).find(([, number]) => number === code - 128);
  return inside ? { exitCode: null, signal: inside[0] } : { exitCode: code, signal };
}
