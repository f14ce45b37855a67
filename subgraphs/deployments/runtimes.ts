import { measureHealth, type ServiceHealth } from "@toolyard/service-kit/graph/subgraph.ts";
import type { RuntimeHost } from "@toolyard/runtimes/runtime-module.ts";
import type { Runtime } from "@toolyard/runtimes/runtime.ts";
import type { DeploymentsConfig } from "./config.ts";

/** Of a process whose end nobody dealt with, as when Toolyard was away for long. */
const MIN_KEPT_MS = 7 * 24 * 60 * 60 * 1_000;

/** Of a runtime whose replicas are kept apart, or not; of one that starts none there is nothing to say. */
export async function runtimeHealth({ kind, capabilities, problem }: Runtime): Promise<ServiceHealth[]> {
  const { isolation } = capabilities;
  if (isolation === null) return [];
  const health = await measureHealth(`runtime:${kind.toLowerCase()}`, async () => {
    const why = await problem?.();
    if (why) throw new Error(why);
  });
  // What runs goes on being called.
  return [health.status === "healthy" ? { ...health, detail: isolation.detail } : { ...health, status: "degraded" }];
}

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
