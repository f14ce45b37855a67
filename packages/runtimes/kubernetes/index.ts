import type { RuntimeModule } from "../runtime-module.ts";

export const kubernetes: RuntimeModule = { description: "Pods of a cluster.", configure: null };
