import { lookup as dnsLookup } from "node:dns";
import { BlockList, isIP, type LookupFunction } from "node:net";
import { buildConnector, type Connector } from "./undici.ts";

/**
 * Addresses that are not the public internet's: IANA's special-purpose registries (RFC 6890, updated by RFC 8190), with
 * multicast and reserved ranges. https://www.iana.org/assignments/iana-ipv4-special-registry
 */
const special4 = new BlockList();
for (const [network, prefix] of [
  ["0.0.0.0", 8], // this network
  ["10.0.0.0", 8],
  ["100.64.0.0", 10], // carrier-grade NAT
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24], // IETF protocol assignments, DS-Lite
  ["192.0.2.0", 24], // documentation
  ["192.31.196.0", 24], // AS112
  ["192.52.193.0", 24], // AMT
  ["192.88.99.0", 24], // 6to4 relays
  ["192.168.0.0", 16],
  ["192.175.48.0", 24], // AS112
  ["198.18.0.0", 15], // benchmarks
  ["198.51.100.0", 24], // documentation
  ["203.0.113.0", 24], // documentation
  ["224.0.0.0", 4], // multicast
  ["240.0.0.0", 4], // reserved, broadcast
] as const)
  special4.addSubnet(network, prefix, "ipv4");

/** IPv4-mapped: judged as the IPv4 address that they are. */
const mapped = new BlockList();
mapped.addSubnet("::ffff:0:0", 96, "ipv6");

/**
 * Global unicast, all that IANA allocates. Everything outside is special or reserved: loopback, NAT64 (64:ff9b::/96,
 * 64:ff9b:1::/48), discard-only, SRv6, unique and link-local, site-local (fec0::/10), multicast.
 */
const global6 = new BlockList();
global6.addSubnet("2000::", 3, "ipv6");
/** Special within it. https://www.iana.org/assignments/iana-ipv6-special-registry */
const special6 = new BlockList();
for (const [network, prefix] of [
  ["2001::", 23], // IETF protocol assignments: Teredo, benchmarks, ORCHID, DETs
  ["2001:db8::", 32], // documentation
  ["2002::", 16], // 6to4 carries an IPv4 address that may be private
  ["2620:4f:8000::", 48], // AS112
  ["3fff::", 20], // documentation
] as const)
  special6.addSubnet(network, prefix, "ipv6");

/** Whether an IP address is private, loopback, link-local or otherwise not of the public internet. Text that is not an IP address counts as one. */
export function isPrivateAddress(address: string): boolean {
  // A zone only says by which of this host's interfaces an address is reached.
  const [plain = ""] = address.split("%");
  switch (isIP(plain)) {
    case 4:
      return special4.check(plain, "ipv4");
    case 6:
      if (mapped.check(plain, "ipv6")) return special4.check(plain, "ipv6"); // BlockList compares mapped ones with IPv4 rules
      return !global6.check(plain, "ipv6") || special6.check(plain, "ipv6");
    default:
      return true;
  }
}

/** Whether a URL names a private address outright. A name may still resolve to one: see `publicConnector`. */
export function namesPrivateAddress(url: URL): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, "");
  if (isIP(host) !== 0) return isPrivateAddress(host);
  return /(?:^|\.)localhost\.?$/.test(host);
}

function privateAddress(host: string, address: string): PrivateAddressError {
  const what = host === address ? `${address} is a private address` : `${host} leads to the private address ${address}`;
  return new PrivateAddressError(`${what}; the operator must set ALLOW_PRIVATE_REMOTES=true to allow that.`);
}

/** A connection that was not made: it would have led to an address that is not public. */
export class PrivateAddressError extends Error {
  override readonly name = "PrivateAddressError";
}

/** Resolves names for connections, and fails when one of a name's addresses is private. */
const publicLookup =
  (resolve: typeof dnsLookup): LookupFunction =>
  (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      if (error) return callback(error, "");
      const refused = addresses.find(({ address }) => isPrivateAddress(address));
      if (refused) return callback(privateAddress(hostname, refused.address), "");
      if (options.all) return callback(null, addresses);
      const [first] = addresses;
      return first
        ? callback(null, first.address, first.family)
        : callback(new Error(`${hostname} has no address`), "");
    });
  };

/**
 * undici's `connect`: connects to public addresses only. An address is judged where it is connected to, so that a name that
 * changes its address in between (DNS rebinding) gains nothing; an address given outright is judged, too.
 * `resolve` is for tests.
 */
export function publicConnector(options: { timeout?: number; resolve?: typeof dnsLookup } = {}): Connector {
  const { resolve = dnsLookup, ...rest } = options;
  const connect = buildConnector({ ...rest, lookup: publicLookup(resolve) });
  return (target, callback) => {
    const host = target.hostname.replace(/^\[|\]$/g, "");
    if (isIP(host.split("%")[0] ?? "") !== 0 && isPrivateAddress(host)) callback(privateAddress(host, host), null);
    else connect(target, callback);
  };
}
