import type { RuntimeModule } from "../runtime-module.ts";
import { createMockRuntime } from "./mock-runtime.ts";

export const mock: RuntimeModule = {
  description: "Nowhere: simulated.",
  configure: () => ({ settings: {}, create: () => createMockRuntime() }),
};
