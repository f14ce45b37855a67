import * as modules from "./modules.ts";
import type { RuntimeModule } from "./runtime-module.ts";

export const RUNTIMES: Readonly<Record<string, RuntimeModule>> = modules;

export const kindOf = (name: string): string => name.toUpperCase();

/** The graph's type of runtimes. */
const TYPE = /^enum RuntimeKind$/m;

/** The SDL of deployments with a value of RuntimeKind for each runtime. */
export function withRuntimes(sdl: string): string {
  const values = Object.entries(RUNTIMES).map(
    ([name, { description }]) => `  ${JSON.stringify(description)}\n  ${kindOf(name)}\n`,
  );
  return sdl.replace(TYPE, (type) => `${type} {\n${values.join("")}}`);
}
