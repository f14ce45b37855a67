import type { RuntimeModule } from "../runtime-module.ts";

export const docker: RuntimeModule = { description: "Containers of a Docker engine.", configure: null };
