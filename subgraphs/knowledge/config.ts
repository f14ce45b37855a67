import { parseEnvironment, type Environment } from "@toolyard/service-kit/process/config.ts";

/** The knowledge subgraph has no variables of its own. */
export type KnowledgeConfig = Record<string, never>;

/** @throws ConfigError naming the variable that is wrong. */
export function parseKnowledgeConfig(env: Environment): KnowledgeConfig {
  return parseEnvironment({}, env);
}
