import { isAbsolute } from "node:path";
import { parseEnvironment, prepareCacheDir } from "@toolyard/service-kit";
import { z } from "zod";
import { hostVariables } from "../host/host-variables.ts";
import { createTrust } from "../host/trust.ts";
import type { RuntimeModule } from "../runtime-module.ts";
import { createProcessRuntime } from "./process-runtime.ts";

const variables = {
  CACHE_DIR: z.string().optional().meta({ example: "/var/cache/toolyard" }),
  PROCESS_ISOLATION: z
    .enum(["auto", "bubblewrap", "none"], "must be auto, bubblewrap or none")
    .default("auto")
    .meta({ example: "auto" }),
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
  ...hostVariables,
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
          trust: settings.EXTRA_CA_FILE === undefined ? null : createTrust(settings.EXTRA_CA_FILE),
          hostEnv,
          log: logger,
          warmUpBridge: true,
        });
      },
    };
  },
} satisfies RuntimeModule;
