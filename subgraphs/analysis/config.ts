import { parseGitHubConfig, type GitHubConfig } from "@toolyard/github";
import type { Environment } from "@toolyard/service-kit/process/config.ts";

export interface AnalysisConfig {
  /** How repositories are read for which a configuration is to be written. */
  github: GitHubConfig;
}

/** Reads the variables of analysis. @throws ConfigError */
export function parseAnalysisConfig(env: Environment): AnalysisConfig {
  return { github: parseGitHubConfig(env) };
}
