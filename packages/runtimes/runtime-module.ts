import type { Environment, Logger } from "@toolyard/service-kit";
import type { Runtime } from "./runtime.ts";

/** What a runtime is given of the host on which it is. */
export interface RuntimeHost {
  /** A folder that this process has locked. */
  dataDir: string;
  /** This process's environment. */
  env: Environment;
  logger: Logger;
  /** Files that replicas must not see, such as `.env`. */
  hiddenPaths: readonly string[];
  /** Whether others than the operator can reach Toolyard, as far as this process can know. */
  reachable: boolean;
  /** How long what ended replicas printed is kept where nobody dealt with their end. */
  keepEndedMs: number;
}

export interface ConfiguredRuntime {
  /** What its variables say. */
  settings: object;
  create(host: RuntimeHost): Runtime | Promise<Runtime>;
}

/** A runtime that can be chosen: the `index.ts` of its folder. It loads no library before it is created. */
export interface RuntimeModule {
  /** Where its replicas run, for the graph: a sentence. */
  description: string;
  /** Reads its own variables; null: not part of this version. @throws ConfigError naming every wrong one */
  configure: ((env: Environment) => ConfiguredRuntime) | null;
}
