import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createMockRuntime } from "@toolyard/runtimes/mock-runtime.ts";
import { createProcessRuntime } from "@toolyard/runtimes/process-runtime.ts";
import type { Runtime } from "@toolyard/runtimes/runtime.ts";
import { newId, prepareCacheDir, systemCodeOf, type Environment, type Logger } from "@toolyard/service-kit";
import type { DeploymentsConfig } from "./config.ts";
import type { DeploymentStore } from "./store/deployment-store.ts";

/**
 * This host's name among those that share the store: HOST_ID, or one that is made at the first start and kept in DATA_DIR. Where the databases came here
 * without it, it is the one that their replicas have: they would be nobody's else.
 */
export async function resolveHostId(
  config: Pick<DeploymentsConfig, "hostId">,
  dataDir: string,
  store: Pick<DeploymentStore, "hostIds">,
): Promise<string> {
  if (config.hostId !== null) return config.hostId;
  const file = join(dataDir, "host-id");
  await mkdir(dataDir, { recursive: true });
  try {
    // The first process writes it; a second one at the same time reads it.
    const [known, ...others] = await store.hostIds();
    const hostId = known !== undefined && others.length === 0 ? known : newId();
    await writeFile(file, `${hostId}\n`, { flag: "wx", mode: 0o600 });
  } catch (error) {
    if (systemCodeOf(error) !== "EEXIST") throw error;
  }
  return (await readFile(file, "utf8")).trim();
}

/** Of a process whose end nobody dealt with, as when Toolyard was away for long. */
const MIN_KEPT_MS = 7 * 24 * 60 * 60 * 1_000;

/** The runtimes that the configuration asks for, on a folder that this process has locked. `env` is this process's environment, of which replicas get what REPLICA_ENV names. */
export async function createRuntimes(options: {
  config: DeploymentsConfig;
  dataDir: string;
  env: Environment;
  logger: Logger;
  /** Files that replicas must not see, such as `.env`. */
  hiddenPaths?: readonly string[];
}): Promise<Runtime[]> {
  const { config, dataDir, env, logger, hiddenPaths = [] } = options;
  if (config.backend === "mock") return [createMockRuntime()];
  if (config.cacheDir !== null) await prepareCacheDir(config.cacheDir);
  return [
    createProcessRuntime({
      dataDir,
      cacheDir: config.cacheDir,
      isolation: config.isolation,
      reachable: config.reachable,
      allowedPaths: config.replicaPaths,
      replicaEnv: config.replicaEnv,
      hostEnv: env,
      log: logger,
      hiddenPaths,
      warmUpBridge: true,
      keepEndedMs: Math.max(config.logRetentionMs, MIN_KEPT_MS),
    }),
  ];
}
