import { parseEnvironment, type Environment } from "@toolyard/service-kit";

/** The subgraph's own settings: none yet. The AI provider's will be here. */
export type AnalysisConfig = Record<never, never>;

/** @throws ConfigError naming each wrong variable */
export function parseAnalysisConfig(env: Environment): AnalysisConfig {
  return parseEnvironment({}, env);
}
