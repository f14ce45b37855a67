import { lookup as dnsLookup } from "node:dns";
import { BlockList, isIP, isIPv6, type LookupFunction } from "node:net";

/** Addresses that are not the public internet's (RFC 6890 and its kin): what a remote launch must not reach by default. */
const special = new BlockList();
for (const [network, prefix] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4],
] as const)
  special.addSubnet(network, prefix, "ipv4");
for (const [network, prefix] of [
  ["::", 96], // unspecified, loopback, IPv4-compatible
  ["64:ff9b::", 96],
  ["64:ff9b:1::", 48],
  ["2002::", 16], // 6to4 carries an IPv4 address that may be private
  ["fc00::", 7],
  ["fe80::", 10],
  ["ff00::", 8],
] as const)
  special.addSubnet(network, prefix, "ipv6");

/** Whether an IP address is private, loopback, link-local or otherwise not of the public internet. */
export function isPrivateAddress(address: string): boolean {
  // BlockList also matches IPv4-mapped IPv6 addresses against the IPv4 rules.
  return special.check(address, isIPv6(address) ? "ipv6" : "ipv4");
}

/** Whether a URL names a private address outright. A name may still resolve to one: see `publicLookup`. */
export function namesPrivateAddress(url: URL): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, "");
  if (isIP(host) !== 0) return isPrivateAddress(host);
  return host === "localhost" || host.endsWith(".localhost");
}

/** Resolves names for connections, and fails when the name leads to a private address: checked where it is used, so that a name that changes its address in between gains nothing. */
export const publicLookup: LookupFunction = (hostname, options, callback) => {
  dnsLookup(hostname, { ...options, all: true }, (error, addresses) => {
    if (error) return callback(error, "");
    const refused = addresses.find(({ address }) => isPrivateAddress(address));
    if (refused)
      return callback(
        new Error(
          `${hostname} leads to the private address ${refused.address}; the operator must set ALLOW_PRIVATE_REMOTES=true to allow that`,
        ),
        "",
      );
    if (options.all) return callback(null, addresses);
    const [first] = addresses;
    return first ? callback(null, first.address, first.family) : callback(new Error(`${hostname} has no address`), "");
  });
};
