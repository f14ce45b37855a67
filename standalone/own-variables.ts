import { proxyVariables } from "@toolyard/proxy/config.ts";
import type { Environment } from "@toolyard/service-kit";
import { flag, integer, noteVariables, parseEnvironment } from "@toolyard/service-kit/process/config.ts";
import { PROXY_MAX_HEAP_MB } from "./supervised-process.ts";

/** Of what starts the parts of a Toolyard on one machine. */
export const ownVariables = {
  SAMPLE: flag(true),
  PROXY_MAX_HEAP_MB: integer({ fallback: PROXY_MAX_HEAP_MB, min: 128, max: 65_536 }),
};

/** Reads them, and knows those that a proxy reads, whose misspelt ones it is never handed. @throws ConfigError */
export function parseOwnVariables(env: Environment) {
  noteVariables(proxyVariables, env);
  return parseEnvironment(ownVariables, env);
}
