import { createMockRuntime } from "@toolyard/runtimes/mock/mock-runtime.ts";
import { createProcessRuntime } from "@toolyard/runtimes/process/process-runtime.ts";
import type { Runtime } from "@toolyard/runtimes/runtime.ts";
import { prepareCacheDir, type Environment, type Logger } from "@toolyard/service-kit";

/** What the configuration says of runtimes. */
export interface RuntimeSettings {
  /** Where replicas' caches are; null: in DATA_DIR. */
  cacheDir: string | null;
  isolation: "auto" | "bubblewrap" | "none";
  replicaEnv: string[];
  /** Folders of this host that launches may name; null: what the runtime says. */
  replicaPaths: string[] | null;
  /** Whether others than the operator can reach Toolyard, as far as this process can know. */
  reachable: boolean;
  /** How long what ended replicas printed is kept. */
  logRetentionMs: number;
}

interface BackendOptions {
  config: RuntimeSettings;
  /** A folder that this process has locked. */
  dataDir: string;
  /** This process's environment, of which replicas get what REPLICA_ENV names. */
  env: Environment;
  logger: Logger;
  /** Files that replicas must not see, such as `.env`. */
  hiddenPaths?: readonly string[];
}

/** What MCP_DEPLOYMENT_BACKEND may say, with the runtimes that it stands for; null: not part of this version. */
const backends = {
  process: createProcessRuntimes,
  mock: () => [createMockRuntime()],
  docker: null,
  kubernetes: null,
} as const satisfies Record<string, ((options: BackendOptions) => Runtime[] | Promise<Runtime[]>) | null>;

type BackendName = keyof typeof backends;
export type Backend = { [Name in BackendName]: (typeof backends)[Name] extends null ? never : Name }[BackendName];

// The object's own keys are its backends.
export const BACKEND_NAMES = Object.keys(backends) as BackendName[];
export const isAvailable = (name: BackendName): name is Backend => backends[name] !== null;

/** The runtimes that the configuration asks for. */
export async function createRuntimes(
  options: Omit<BackendOptions, "config"> & { config: RuntimeSettings & { backend: Backend } },
): Promise<Runtime[]> {
  return backends[options.config.backend](options);
}

/** Of a process whose end nobody dealt with, as when Toolyard was away for long. */
const MIN_KEPT_MS = 7 * 24 * 60 * 60 * 1_000;

async function createProcessRuntimes({
  config,
  dataDir,
  env,
  logger,
  hiddenPaths = [],
}: BackendOptions): Promise<Runtime[]> {
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
