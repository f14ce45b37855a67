import type { OutgoingHttpHeaders } from "node:http";
import type { OperationContext } from "../execution/clients/subgraph-client.ts";

/** A limit of a caller's rate, and how much of it is left. */
export interface Quota {
  name: string;
  /** As many may come in one window, … */
  limit: number;
  windowSeconds: number;
  /** … of which so many are left … */
  remaining: number;
  /** … until, after so many seconds without any, all are there again. */
  resetSeconds: number;
}

/**
 * The headers that tell a client of its quotas: RateLimit-Policy and RateLimit
 * (https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/10/), and for older clients the three fields of that draft's
 * version 06, of the quota that is nearest to its end.
 */
export function quotaHeaders({ quotas }: OperationContext & { quotas?: readonly Quota[] }): OutgoingHttpHeaders {
  const [first, ...others] = quotas ?? [];
  if (!first) return {};
  const all = [first, ...others];
  const nearest = others.reduce((one, other) => (shareLeft(other) < shareLeft(one) ? other : one), first);
  return {
    "ratelimit-policy": all
      .map(({ name, limit, windowSeconds }) => `"${name}";q=${limit};w=${windowSeconds}`)
      .join(", "),
    ratelimit: all.map(({ name, remaining, resetSeconds }) => `"${name}";r=${remaining};t=${resetSeconds}`).join(", "),
    "ratelimit-limit": String(nearest.limit),
    "ratelimit-remaining": String(nearest.remaining),
    "ratelimit-reset": String(nearest.resetSeconds),
  };
}

const shareLeft = ({ limit, remaining }: Quota): number => remaining / limit;
