import { readFileSync } from "node:fs";
import { systemCodeOf } from "@toolyard/service-kit/errors/errors.ts";
import { list } from "@toolyard/service-kit/process/config.ts";
import { isSecretVariable } from "@toolyard/service-kit/process/part-secrets.ts";
import { z } from "zod";
import { certificatesIn } from "./trust.ts";

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

/** Of every runtime that starts replicas. */
export const hostVariables = {
  /** Becomes the certificates. */
  EXTRA_CA_FILE: z
    .string()
    .transform((file, context) => {
      try {
        const certificates = certificatesIn(readFileSync(file, "utf8"));
        if (certificates !== null) return certificates;
        context.addIssue("must name a file of certificates in PEM");
      } catch (error) {
        context.addIssue(`cannot be read (${systemCodeOf(error) ?? "no file"})`);
      }
      return z.NEVER;
    })
    .optional()
    .meta({ example: "/etc/toolyard/company-ca.pem" }),
  REPLICA_ENV: list(DEFAULT_REPLICA_ENV, "HTTPS_PROXY,NPM_CONFIG_REGISTRY").refine(
    (names) => !names.some(isSecretVariable),
    "may not name secrets of Toolyard itself, which every replica would have: give a launch its own by its env",
  ),
};

/** Names that are Toolyard's own in a replica's environment. */
export const RESERVED = /^(?:TOOLYARD|BRIDGE)_/;

/** The variables of `names` that this host has. */
export function variablesOf(
  hostEnv: Readonly<Record<string, string | undefined>>,
  names: readonly string[],
): Record<string, string> {
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = hostEnv[name];
      return value === undefined || RESERVED.test(name) ? [] : [[name, value]];
    }),
  );
}
