import { isIPv6 } from "node:net";
import { ToolyardError } from "../errors/errors.ts";

/**
 * Which Host and Origin headers are answered, against DNS rebinding: loopback names and names set by the operator.
 * Ports do not matter: they cannot be rebound.
 */
export interface HostPolicy {
  /** A request without a Host comes from no browser: it is HTTP/1.0, as load balancers probe. */
  allowsHost(host: string | undefined): boolean;
  /** A request without an Origin does not come from a page. */
  allowsOrigin(origin: string | undefined): boolean;
  /** @throws ToolyardError FORBIDDEN unless both are allowed */
  check(headers: { host?: string | undefined; origin?: string | undefined }): void;
}

const UNKNOWN_HOST =
  "This host name is not served here. If Toolyard is reached by it, say so in PUBLIC_URL, or add it to ALLOWED_HOSTS.";
const UNKNOWN_ORIGIN =
  "Pages of this origin may not call. Add it to CORS_ORIGINS if they should; PUBLIC_URL names Toolyard's own.";

export function createHostPolicy(options: {
  listenHost: string;
  /** Their hosts are names of this server, too. */
  origins: readonly string[];
  hosts: readonly string[];
  /** Further origins whose pages may call; not names of this server. */
  otherOrigins?: readonly string[];
}): HostPolicy {
  const { listenHost, origins, hosts, otherOrigins = [] } = options;
  const names = new Set([
    "localhost",
    "127.0.0.1",
    "::1",
    listenHost,
    ...hosts.map((host) => bareHost(host.toLowerCase())),
    ...origins.map((origin) => bareHost(new URL(origin).hostname)),
  ]);
  // A server on every address is reached by names that only the operator knows; rebinding is not possible by a bare address.
  const everywhere = listenHost === "0.0.0.0" || listenHost === "::";
  const allowedName = (name: string) =>
    names.has(name) || name.endsWith(".localhost") || (everywhere && isAddress(name));
  /** The newest that was allowed: most requests are of few clients. */
  let known = "";
  function allowsHost(host: string | undefined): boolean {
    if (host === undefined || host === known) return true;
    if (!allowedName(hostName(host))) return false;
    known = host;
    return true;
  }
  function allowsOrigin(origin: string | undefined): boolean {
    if (origin === undefined || origins.includes(origin) || otherOrigins.includes(origin)) return true;
    if (!URL.canParse(origin)) return false;
    const { hostname, protocol } = new URL(origin);
    const name = bareHost(hostname);
    return (
      (protocol === "http:" || protocol === "https:") &&
      (["localhost", "127.0.0.1", "::1"].includes(name) || name.endsWith(".localhost"))
    );
  }
  return {
    allowsHost,
    allowsOrigin,
    check({ host, origin }) {
      if (!allowsHost(host)) throw new ToolyardError("FORBIDDEN", UNKNOWN_HOST);
      if (!allowsOrigin(origin)) throw new ToolyardError("FORBIDDEN", UNKNOWN_ORIGIN);
    },
  };
}

/** A URL's host as sockets take it: an IPv6 address is in brackets in a URL only. */
export function bareHost(name: string): string {
  return name.replace(/^\[|\]$/g, "");
}

function hostName(host: string): string {
  const bracketed = /^\[([^\]]+)\]/.exec(host)?.[1];
  return (bracketed ?? host.replace(/:\d+$/, "")).toLowerCase();
}

function isAddress(name: string): boolean {
  return /^\d{1,3}(\.\d{1,3}){3}$/.test(name) || name.includes(":");
}

/** Whether an address is a loopback one. That a request comes from there proves nothing: every replica and reverse proxy is on this host. */
export function isLoopback(address: string | undefined): boolean {
  return address !== undefined && (/^(::ffff:)?127\./.test(address) || address === "::1");
}

/**
 * The part of an address that belongs to one subscriber: an IPv4 address, or the /64 of an IPv6 one, within which subscribers choose
 * addresses freely (RFC 6177). Limits for a client are counted by this.
 */
export function addressBlock(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  const bare = address.replace(/%.*$/, "");
  if (!isIPv6(bare)) return address.slice(0, 64);
  // WHATWG's URL writes every spelling of an address alike, with at most one `::`.
  const [head = "", tail] = new URL(`http://[${bare}]`).hostname.slice(1, -1).split("::");
  const groups = head === "" ? [] : head.split(":");
  const after = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? 0 : 8 - groups.length - after.length;
  return `${[...groups, ...Array.from({ length: zeros }, () => "0"), ...after].slice(0, 4).join(":")}::/64`;
}
