import type { RuntimeHost } from "@toolyard/runtimes/runtime-module.ts";
import type { Runtime } from "@toolyard/runtimes/runtime.ts";
import type { DeploymentsConfig } from "./config.ts";

/** Of a process whose end nobody dealt with, as when Toolyard was away for long. */
const MIN_KEPT_MS = 7 * 24 * 60 * 60 * 1_000;

/** The runtimes that the configuration asks for, and remote servers. */
export async function createRuntimes({
  config,
  dataDir,
  env,
  logger,
  hiddenPaths = [],
}: Pick<RuntimeHost, "dataDir" | "env" | "logger"> & {
  config: Pick<DeploymentsConfig, "runtimes" | "reachable" | "logRetentionMs">;
  hiddenPaths?: readonly string[];
}): Promise<Runtime[]> {
  const keepEndedMs = Math.max(config.logRetentionMs, MIN_KEPT_MS);
  const host: RuntimeHost = { dataDir, env, logger, hiddenPaths, reachable: config.reachable, keepEndedMs };
  return Promise.all(config.runtimes.map(async ({ create }) => create(host)));
}
