import { homedir } from "node:os";
import { join } from "node:path";
import { parseEnvironment } from "@toolyard/service-kit";
import { z } from "zod";
import { imageVariables } from "../container/image-variables.ts";
import { passedOn } from "../container/passed-on.ts";
import { hostVariables } from "../host/host-variables.ts";
import type { RuntimeModule } from "../runtime-module.ts";

const variables = {
  DOCKER_HOST: z.string().default("unix:///var/run/docker.sock").meta({ example: "unix:///var/run/docker.sock" }),
  /** As Docker reads it: anything means yes. */
  DOCKER_TLS_VERIFY: z.string().optional().meta({ example: "1" }),
  DOCKER_CERT_PATH: z.string().optional().meta({ example: "/etc/docker/certificates" }),
  DOCKER_CONFIG: z.string().optional().meta({ example: "/etc/toolyard/docker" }),
  ...imageVariables,
  ...hostVariables,
};

export const docker: RuntimeModule = {
  description: "Containers of a Docker or Podman engine.",
  configure(env) {
    const settings = parseEnvironment(variables, env);
    const { DOCKER_CONFIG: folder = join(homedir(), ".docker"), DOCKER_CERT_PATH: certificates = folder } = settings;
    return {
      settings,
      async create({ dataDir, env: hostEnv, logger, keepEndedMs }) {
        const { createDockerRuntime } = await import("./docker-runtime.ts");
        return createDockerRuntime({
          engine: { url: settings.DOCKER_HOST, certificates: settings.DOCKER_TLS_VERIFY ? certificates : null },
          dataDir,
          imageRegistry: settings.MCP_IMAGE_REGISTRY ?? null,
          runnerImage: settings.MCP_RUNNER_IMAGE ?? null,
          passedOn: passedOn(settings, hostEnv),
          credentialsFile: join(folder, "config.json"),
          logger,
          keepEndedMs,
        });
      },
    };
  },
};
