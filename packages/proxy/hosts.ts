/**
 * Which Host and Origin headers are answered, against DNS rebinding: loopback names and what the operator named.
 * Ports do not matter: they cannot be rebound.
 */
export interface HostPolicy {
  allowsHost(host: string | undefined): boolean;
  /** A request without an Origin does not come from a page. */
  allowsOrigin(origin: string | undefined): boolean;
}

const LOOPBACK_NAMES = ["localhost", "127.0.0.1", "::1"];

export function createHostPolicy(options: {
  listenHost: string;
  origins: readonly string[];
  hosts: readonly string[];
}): HostPolicy {
  const { listenHost, origins, hosts } = options;
  const names = new Set([
    ...LOOPBACK_NAMES,
    listenHost,
    ...hosts.map((host) => host.toLowerCase()),
    ...origins.map((origin) => new URL(origin).hostname),
  ]);
  // Who listens on every address is reached by names that only the operator knows; by a bare address, rebinding is not possible.
  const everywhere = listenHost === "0.0.0.0" || listenHost === "::";
  return {
    allowsHost(host) {
      if (host === undefined) return false;
      const name = hostName(host);
      return names.has(name) || name.endsWith(".localhost") || (everywhere && isAddress(name));
    },
    allowsOrigin(origin) {
      if (origin === undefined || origins.includes(origin)) return true;
      if (!URL.canParse(origin)) return false;
      const { hostname, protocol } = new URL(origin);
      const name = hostname.replace(/^\[|\]$/g, "");
      return /^https?:$/.test(protocol) && (LOOPBACK_NAMES.includes(name) || name.endsWith(".localhost"));
    },
  };
}

function hostName(host: string): string {
  const end = host.startsWith("[") ? host.indexOf("]") : host.lastIndexOf(":");
  if (host.startsWith("[")) return host.slice(1, end === -1 ? undefined : end).toLowerCase();
  return (end === -1 ? host : host.slice(0, end)).toLowerCase();
}

function isAddress(name: string): boolean {
  return /^\d{1,3}(\.\d{1,3}){3}$/.test(name) || name.includes(":");
}

/** Whether a socket's remote address is this host's own. */
export function isLoopback(address: string | undefined): boolean {
  return address !== undefined && (/^(::ffff:)?127\./.test(address) || address === "::1");
}
