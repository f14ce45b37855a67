import type { Environment } from "@toolyard/service-kit";

/** What the proxy may know of this process's environment: the system's variables and its own, and of secrets only what it takes itself. */
export function proxyEnvironment(env: Environment): Record<string, string> {
  const names =
    /^(PATH|HOME|LANG|LC_.*|TZ|TMPDIR|NODE_COMPILE_CACHE|NODE_EXTRA_CA_CERTS|LOG_LEVEL|LOG_REQUESTS|CORS_ORIGINS|ALLOWED_HOSTS|ALLOW_PRIVATE_REMOTES|METRICS_TOKEN|PUBLIC_URL|RATE_LIMIT_.*|PROXY_(?!CREDENTIAL).*)$/;
  return Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) => (value !== undefined && names.test(name) ? [[name, value]] : [])),
  );
}
