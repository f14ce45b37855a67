import { isAbsolute } from "node:path";
import { parseEnvironment, prepareCacheDir } from "@toolyard/service-kit";
import { list } from "@toolyard/service-kit/process/config.ts";
import { isSecretVariable } from "@toolyard/service-kit/process/part-secrets.ts";
import { z } from "zod";
import type { RuntimeModule } from "../runtime-module.ts";
import { createProcessRuntime } from "./process-runtime.ts";
import { DEFAULT_REPLICA_ENV } from "./replica-environment.ts";

const variables = {
  CACHE_DIR: z.string().optional().meta({ example: "/var/cache/toolyard" }),
  PROCESS_ISOLATION: z
    .enum(["auto", "bubblewrap", "none"], "must be auto, bubblewrap or none")
    .default("auto")
    .meta({ example: "auto" }),
  REPLICA_ENV: list(DEFAULT_REPLICA_ENV, "HTTPS_PROXY,NPM_CONFIG_REGISTRY").refine(
    (names) => !names.some(isSecretVariable),
    "may not name secrets of Toolyard itself, which every replica would have: give a launch its own by its env",
  ),
  REPLICA_PATHS: z
    .string()
    .optional()
    .transform((text, context) => {
      if (text === undefined) return null;
      const paths = text.split(",").flatMap((path) => path.trim() || []);
      if (paths.every((path) => isAbsolute(path))) return paths;
      context.addIssue("must be absolute paths, separated by commas");
      return z.NEVER;
    })
    .meta({ example: "/srv/notes" }),
};

export const process = {
  description: "Processes of a host.",
  configure(env) {
    const settings = parseEnvironment(variables, env);
    return {
      settings,
      async create({ logger, env: hostEnv, ...host }) {
        const { CACHE_DIR: cacheDir = null } = settings;
        if (cacheDir !== null) await prepareCacheDir(cacheDir);
        return createProcessRuntime({
          ...host,
          cacheDir,
          isolation: settings.PROCESS_ISOLATION,
          allowedPaths: settings.REPLICA_PATHS,
          replicaEnv: settings.REPLICA_ENV,
          hostEnv,
          log: logger,
          warmUpBridge: true,
        });
      },
    };
  },
} satisfies RuntimeModule;
