import type { RuntimeModule } from "../runtime-module.ts";
import { createRemoteRuntime } from "./remote-runtime.ts";

export const remote: RuntimeModule = {
  description: "Somewhere else: called and never started.",
  configure: () => ({ settings: {}, create: () => createRemoteRuntime() }),
};
