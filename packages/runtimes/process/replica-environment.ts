import { ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import { RESERVED, variablesOf } from "../host/host-variables.ts";

/** Variables of this host that every replica gets. TMPDIR is its own. */
const ALWAYS_PASSED = ["PATH", "HOME", "LANG", "TZ"];

/**
 * A replica's environment: what the launch says over the allowed names of this host's, nothing else.
 * @throws ToolyardError BAD_USER_INPUT when the launch sets a name that cannot be set.
 */
export function replicaEnvironment(options: {
  hostEnv: Record<string, string | undefined>;
  /** Names from this host's environment to pass on besides PATH, HOME, LANG and TZ. */
  replicaEnv: readonly string[];
  launchEnv: Record<string, string>;
  temporaryDirectory: string;
  /** HOME where this host has none. */
  homeDirectory: string;
}): Record<string, string> {
  const { hostEnv, replicaEnv, launchEnv, temporaryDirectory, homeDirectory } = options;
  const environment: Record<string, string> = {
    HOME: homeDirectory,
    ...variablesOf(hostEnv, [...ALWAYS_PASSED, ...replicaEnv]),
  };
  environment["TMPDIR"] = temporaryDirectory;
  for (const [name, value] of Object.entries(launchEnv)) {
    if (!/^[^=\0]+$/.test(name) || value.includes("\0")) {
      throw new ToolyardError("BAD_USER_INPUT", `${JSON.stringify(name)} cannot be set in a launch's env.`);
    }
    if (RESERVED.test(name)) {
      throw new ToolyardError("BAD_USER_INPUT", `${name} cannot be set in a launch's env: the name is Toolyard's own.`);
    }
    environment[name] = value;
  }
  return environment;
}
