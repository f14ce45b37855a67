import { parseEnvironment, type Environment } from "@toolyard/service-kit/process/config.ts";

/** The tools subgraph has no variables of its own. */
export type ToolsConfig = Record<string, never>;

/** @throws ConfigError naming the variable that is wrong. */
export function parseToolsConfig(env: Environment): ToolsConfig {
  return parseEnvironment({}, env);
}
