import { ToolyardError } from "@toolyard/service-kit/errors/errors.ts";

/** Variables of this host that every replica gets. TMPDIR is its own. */
const ALWAYS_PASSED = ["PATH", "HOME", "LANG", "TZ"];

/** Default of REPLICA_ENV: what `npx`, `uvx` and TLS clients need to work where they work for this host's user. */
export const DEFAULT_REPLICA_ENV: readonly string[] = [
  "HTTP_PROXY",
  "HTTPS_PROXY",
  "NO_PROXY",
  "ALL_PROXY",
  "http_proxy",
  "https_proxy",
  "no_proxy",
  "all_proxy",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "NODE_EXTRA_CA_CERTS",
  "REQUESTS_CA_BUNDLE",
  "CURL_CA_BUNDLE",
  "npm_config_registry",
  "NPM_CONFIG_REGISTRY",
  "npm_config_userconfig",
  "NPM_CONFIG_USERCONFIG",
  "PIP_INDEX_URL",
  "PIP_EXTRA_INDEX_URL",
  "PIP_CERT",
  "PIP_CONFIG_FILE",
  "UV_INDEX",
  "UV_DEFAULT_INDEX",
  "UV_INDEX_URL",
  "UV_EXTRA_INDEX_URL",
  "UV_CONFIG_FILE",
  "UV_NATIVE_TLS",
  "UV_PYTHON",
  "PYENV_ROOT",
];

/** Names that are Toolyard's own in a replica's environment. */
const RESERVED = /^(?:TOOLYARD|BRIDGE)_/;

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
  const environment: Record<string, string> = { HOME: homeDirectory };
  for (const name of [...ALWAYS_PASSED, ...replicaEnv]) {
    const value = hostEnv[name];
    if (value !== undefined && !RESERVED.test(name)) environment[name] = value;
  }
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
