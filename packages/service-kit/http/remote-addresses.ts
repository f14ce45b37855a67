import { bareHost } from "./hosts.ts";
import { lookup as dnsLookup } from "node:dns";
import { isIP } from "node:net";
import { checkedLookup, isPrivateAddress } from "./private-addresses.ts";
import { buildConnector, type Connector } from "./undici.ts";

/** Whether a URL names a private address outright. A name may still resolve to one: see `publicConnector`. */
export function namesPrivateAddress(url: URL): boolean {
  const host = bareHost(url.hostname);
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
const publicLookup = (resolve: typeof dnsLookup) =>
  checkedLookup(resolve, (host, address) => (isPrivateAddress(address) ? privateAddress(host, address) : null));

/**
 * undici's `connect`: connects to public addresses only. An address is judged where it is connected to, so that a name that
 * changes its address in between (DNS rebinding) gains nothing; an address given outright is judged, too.
 * `resolve` is for tests.
 */
export function publicConnector(options: { timeout?: number; resolve?: typeof dnsLookup } = {}): Connector {
  const { resolve = dnsLookup, ...rest } = options;
  const connect = buildConnector({ ...rest, lookup: publicLookup(resolve) });
  return (target, callback) => {
    const host = bareHost(target.hostname);
    if (isIP(host.split("%")[0] ?? "") !== 0 && isPrivateAddress(host)) callback(privateAddress(host, host), null);
    else connect(target, callback);
  };
}
