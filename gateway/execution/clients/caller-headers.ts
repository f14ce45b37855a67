import { LRUCache } from "lru-cache";
import { callerKey, type Caller, type CallerHeaderFacts } from "@toolyard/service-kit";
import type { OperationContext } from "./subgraph-client.ts";

export interface CallerHeadersOptions {
  /** Signs the caller and the request's origin, valid for longer than `keepMs`. */
  sign(caller: Caller, about: CallerHeaderFacts): Promise<string>;
  /** The header's name. */
  name: string;
  /** How long a signed header is sent again for the same caller. */
  keepMs?: number;
  /** Epoch milliseconds. */
  now?: () => number;
}

/** The header that tells a subgraph on whose behalf an operation runs, signed once in a while and not for each request. */
export function createCallerHeaders(
  options: CallerHeadersOptions,
): (context: OperationContext, isMutation?: boolean) => Promise<Record<string, string>> {
  const { sign, name, keepMs = 10_000, now = Date.now } = options;
  const signed = new LRUCache<string, { headers: Promise<Record<string, string>>; until: number }>({ max: 10_000 });
  return ({ caller, clientAddress }, isMutation = false) => {
    const key = JSON.stringify([callerKey(caller), clientAddress, isMutation]);
    const known = signed.get(key);
    const time = now();
    if (known && time < known.until) return known.headers;
    const headers = sign(caller, { clientAddress, isMutation }).then((value) => ({ [name]: value }));
    signed.set(key, { headers, until: time + keepMs });
    // A failed signature is tried anew; the caller who asked for it gets the error.
    headers.catch(() => signed.set(key, { headers, until: 0 }));
    return headers;
  };
}
