import { BlockList, isIP } from "node:net";

/** Of an entry without a port. */
const DEFAULT_PORTS = [80, 443];
const MAX_NAME = 253;
const LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?";
const NAME = new RegExp(`^(\\*\\.)?(${LABEL}(?:\\.${LABEL})*)(?::(\\d{1,5}))?$`);
const ADDRESS = /^(?:\[([0-9a-f:.]+)(?:\/(\d{1,3}))?\]|(\d+(?:\.\d+){3})(?:\/(\d{1,2}))?)(?::(\d{1,5}))?$/;
const FORM = "must be a host, as in api.example.com, *.example.com:8443, 10.1.2.3:5432, 10.0.0.0/8 or [2001:db8::1]";

interface Entry {
  ports: readonly number[];
  matches(host: string): boolean;
}

/** The hosts that a server may reach. */
export interface EgressList {
  /** Whether the host, as it is asked for by name or by address, may be reached at the port. */
  allows(host: string, port: number): boolean;
  /** Whether the list has the address itself, or its network: one that is not public is reached only then, whatever name leads to it. */
  hasAddress(address: string, port: number): boolean;
}

/** Why a text, in lower case, is no entry of such a list; null: it is one. */
export function problemOfEgress(text: string): string | null {
  const entry = parse(text);
  return typeof entry === "string" ? entry : null;
}

/** @throws Error for a text that is no entry */
export function createEgressList(allow: readonly string[]): EgressList {
  const [names, addresses] = [new Array<Entry>(), new Array<Entry>()];
  for (const text of allow) {
    const entry = parse(text);
    if (typeof entry === "string") throw new Error(`${text} ${entry}`);
    (ADDRESS.test(text) ? addresses : names).push(entry);
  }
  const has = (entries: readonly Entry[], host: string, port: number) =>
    entries.some((entry) => entry.ports.includes(port) && entry.matches(host));
  return {
    allows: (host, port) =>
      isIP(host) === 0 ? has(names, host.toLowerCase().replace(/\.$/, ""), port) : has(addresses, host, port),
    hasAddress: (address, port) => has(addresses, address, port),
  };
}

/** The entry, or why the text is none. */
function parse(text: string): Entry | string {
  const [, ip6, prefix6, ip4, prefix4, portOfAddress] = ADDRESS.exec(text) ?? [];
  const [, wildcard, name, portOfName] = NAME.exec(text) ?? [];
  const port = portOfAddress ?? portOfName;
  const ports = port === undefined ? DEFAULT_PORTS : [Number(port)];
  if (!ports.every((each) => each >= 1 && each <= 65_535)) return "must have a port from 1 to 65535";
  const address = ip4 ?? ip6;
  if (address !== undefined) return network(address, prefix4 ?? prefix6, ports);
  // A text that a URL takes for an address in another notation is no name.
  if (name === undefined || name.length > MAX_NAME || URL.parse(`http://${name}`)?.hostname !== name) return FORM;
  if (/(?:^|\.)localhost$/.test(name)) return "must not be localhost, which a server reaches without a list";
  return {
    ports,
    matches: wildcard === undefined ? (host) => host === name : (host) => host.endsWith(`.${name}`),
  };
}

function network(address: string, prefix: string | undefined, ports: readonly number[]): Entry | string {
  const version = isIP(address);
  if (version === 0) return FORM;
  const family = version === 4 ? "ipv4" : "ipv6";
  const [least, most] = version === 4 ? [8, 32] : [16, 128];
  const length = Number(prefix ?? most);
  if (length < least || length > most) return `must have a prefix from /${least} to /${most}`;
  // Unspecified, loopback, and IPv6's ways to write an IPv4 address.
  if (/^(?:0|127)\.|^0*:/.test(address))
    return "must not be an address of the server itself, or an IPv4 address written as IPv6";
  const block = new BlockList();
  block.addSubnet(address, length, family);
  return { ports, matches: (host) => isIP(host) === version && block.check(host, family) };
}
