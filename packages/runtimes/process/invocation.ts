import { execCommand } from "@toolyard/bridge/child/handover.ts";

/** A command line, its environment and inherited descriptors. Programs that only prepare another are put before it. */
export interface Invocation {
  /** The first is an absolute path. */
  argv: string[];
  environment: Record<string, string>;
  /** Texts that it inherits by pipes (see handover.ts of the bridge), and descriptors of this process. */
  inherited: (string | number)[];
}

/** The same, itself started with an empty environment: a launch's is for the launch's command alone. */
export function withoutEnvironment({ argv, environment, inherited }: Invocation): Invocation {
  const [file = ""] = argv;
  return { argv: execCommand(file, argv), environment: {}, inherited: [JSON.stringify(environment), ...inherited] };
}
