import type { lookup as dnsLookup } from "node:dns";
import { BlockList, isIP, type LookupFunction } from "node:net";

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
  ["168.63.129.16", 32], // Azure's host, in no registry: it serves virtual machines their certificates and settings
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

/** Resolves names for connections, and fails with the error that `refuse` has for one of a name's addresses. */
export const checkedLookup =
  (resolve: typeof dnsLookup, refuse: (host: string, address: string) => Error | null): LookupFunction =>
  (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      if (error) return callback(error, "");
      for (const { address } of addresses) {
        const refused = refuse(hostname, address);
        if (refused) return callback(refused, "");
      }
      if (options.all) return callback(null, addresses);
      const [first] = addresses;
      return first
        ? callback(null, first.address, first.family)
        : callback(new Error(`${hostname} has no address`), "");
    });
  };
