import { statSync } from "node:fs";
import { resolve } from "node:path";
import { parseGitHubConfig, type GitHubConfig } from "@toolyard/github";
import {
  ConfigError,
  parseEnvironment,
  parseTogether,
  type Environment,
} from "@toolyard/service-kit/process/config.ts";
import { z } from "zod";
import type { TemplatePlace } from "./templates/repository/template-repository.ts";

export interface ToolsConfig {
  /** A folder of templates besides Toolyard's own; null: there is none. */
  templatesDir: string | null;
  /** A repository of templates; null: there is none. */
  templateRepository: TemplatePlace | null;
  github: GitHubConfig;
}

const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;

/** `owner/name/folder@ref`, as GitHub writes the places of actions. */
const PLACE =
  /^(?<owner>[A-Za-z0-9][\w-]{0,38})\/(?<name>[\w.-]{1,100})(?<folder>(?:\/[^/@\s]+)*)(?:@(?<ref>[^\s~^:?*[\\]+))?$/;

const shape = {
  TEMPLATES_DIR: z
    .string()
    .refine(isFolder, "must be a folder that is there")
    .optional()
    .meta({ example: "/etc/toolyard/templates" }),
  TEMPLATE_REPOSITORY: z
    .string()
    .max(255)
    .regex(PLACE, "must be owner/name, with /folder and @branch (or a tag or commit) behind it where wanted")
    .refine((place) => !/\/\.\.?(?:[/@]|$)/.test(place), "must have no . and .. in it")
    .optional()
    .meta({ example: "acme/mcp-templates/servers@main" }),
};

/** Reads the variables of tools. @throws ConfigError */
export function parseToolsConfig(env: Environment): ToolsConfig {
  const [{ TEMPLATES_DIR: templatesDir, TEMPLATE_REPOSITORY: place }, github] = parseTogether(
    () => parseEnvironment(shape, env),
    () => parseGitHubConfig(env),
  );
  if (place !== undefined && github.credential === null)
    throw new ConfigError(
      "TEMPLATE_REPOSITORY needs a credential for GitHub, also for a public repository: set GITHUB_TOKEN, or GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY.",
    );
  return {
    templatesDir: templatesDir === undefined ? null : resolve(templatesDir),
    templateRepository: place === undefined ? null : placeOf(place),
    github,
  };
}

function placeOf(text: string): TemplatePlace {
  const { owner = "", name = "", folder = "", ref = null } = PLACE.exec(text)?.groups ?? {};
  return { owner, name, folder: folder.slice(1), ref };
}
