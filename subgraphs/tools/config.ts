import { statSync } from "node:fs";
import { resolve } from "node:path";
import { parseGitHubConfig, type GitHubConfig } from "@toolyard/github";
import { parseEnvironment, parseTogether, type Environment } from "@toolyard/service-kit/process/config.ts";
import { z } from "zod";

export interface ToolsConfig {
  /** A folder of templates besides Toolyard's own; null: there is none. */
  templatesDir: string | null;
  github: GitHubConfig;
}

const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;

const shape = {
  TEMPLATES_DIR: z
    .string()
    .refine(isFolder, "must be a folder that is there")
    .optional()
    .meta({ example: "/etc/toolyard/templates" }),
};

/** Reads the variables of tools. @throws ConfigError */
export function parseToolsConfig(env: Environment): ToolsConfig {
  const [{ TEMPLATES_DIR: templatesDir }, github] = parseTogether(
    () => parseEnvironment(shape, env),
    () => parseGitHubConfig(env),
  );
  return { templatesDir: templatesDir === undefined ? null : resolve(templatesDir), github };
}
