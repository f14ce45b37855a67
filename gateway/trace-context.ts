import { randomBytes } from "node:crypto";

/**
 * W3C trace context (https://www.w3.org/TR/trace-context/): what goes on to subgraphs for a request that came with `traceparent`, the
 * same trace with the gateway as the parent. Undefined when there is none, or none that is well formed.
 */
export function continueTrace(traceparent: string | string[] | undefined): string | undefined {
  if (typeof traceparent !== "string") return undefined;
  const match = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:$|-)/.exec(
    traceparent,
  );
  // Bits of the flags beyond "sampled" and "random" are a later version's.
  return match ? `00-${match[1]}-${randomBytes(8).toString("hex")}-${match[2]}` : undefined;
}
