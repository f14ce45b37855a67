import { proxyVariables } from "@toolyard/proxy/config.ts";
import type { Environment } from "@toolyard/service-kit";
import { processVariables } from "@toolyard/service-kit/process/process-config.ts";
import { tracingVariables } from "@toolyard/service-kit/tracing/tracing-config.ts";

const SYSTEM = /^(PATH|HOME|LANG|LC_.*|TZ|TMPDIR|NODE_COMPILE_CACHE|NODE_EXTRA_CA_CERTS)$/;
const { PROXY_CREDENTIAL: _made, ...others } = proxyVariables;
const OWN = new Set(Object.keys({ ...processVariables, ...tracingVariables, ...others }));

/** The proxy's share of this process's environment: the system's variables and its own, and only the secrets that it needs. */
export function proxyEnvironment(env: Environment): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) =>
      value !== undefined && (SYSTEM.test(name) || OWN.has(name.replace(/_FILE$/, ""))) ? [[name, value]] : [],
    ),
  );
}
