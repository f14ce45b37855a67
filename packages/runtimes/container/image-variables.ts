import { z } from "zod";

/** Of every runtime that runs images. */
export const imageVariables = {
  MCP_RUNNER_IMAGE: z.string().optional().meta({ example: "toolyard:0.1.0" }),
  MCP_IMAGE_REGISTRY: z
    .string()
    .regex(
      /^[a-z0-9]+(?:[._-][a-z0-9]+)*(?::\d+)?(?:\/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*$/,
      "must be a host, with a path or without",
    )
    .optional()
    .meta({ example: "ghcr.io/acme" }),
};
