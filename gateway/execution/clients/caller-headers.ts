import { createMemoryCache } from "@toolyard/cache";
import { callerKey, type Caller, type CallerHeaderFacts } from "@toolyard/service-kit";
import type { OperationContext } from "./subgraph-client.ts";

export interface CallerHeadersOptions {
  /** Signs the caller and the request's origin, valid for longer than `keepMs`. */
  sign(caller: Caller, about: CallerHeaderFacts): Promise<string>;
  /** The header's name. */
  name: string;
  /** How long a signed header is sent again for the same caller. */
  keepMs?: number;
  /** Milliseconds by a clock that never jumps: one that is set back would keep a header for as long. */
  now?: () => number;
}

/** The header that tells a subgraph on whose behalf an operation runs, signed once in a while and not for each request. */
export function createCallerHeaders(
  options: CallerHeadersOptions,
): (context: OperationContext, isMutation?: boolean) => Promise<Record<string, string>> {
  const { sign, name, keepMs = 10_000, now = () => performance.now() } = options;
  const signed = createMemoryCache<Record<string, string>>({ maxEntries: 10_000, now });
  return ({ caller, clientAddress }, isMutation = false) =>
    signed.wrap(
      JSON.stringify([callerKey(caller), clientAddress, isMutation]),
      async () => ({ [name]: await sign(caller, { clientAddress, isMutation }) }),
      keepMs,
    );
}
