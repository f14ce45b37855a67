import { addressBlock } from "@toolyard/service-kit/http/hosts.ts";

/**
 * How long an exchanged refresh token may be exchanged again: two tabs that refresh at once, or a client that lost the answer. As
 * Auth0's and Okta's leeways, which are of some seconds.
 */
const GRACE_MS = 10_000;
const MAX_KEPT = 10_000;

/**
 * Which refresh tokens were exchanged a moment ago, and from where. A thief would have to be at the user's own address, within these
 * seconds; and cannot use the token once what it was exchanged for has been used. Only in memory: nothing of where users are is
 * written, and after a restart the rule is as strict as without.
 */
export interface RecentRefreshes {
  /** @param successor Hash of the token that it was exchanged for. */
  note(hash: string, successor: string, client: string | null): void;
  /** The result of the token's exchange, if that was a moment ago and by the same client; else null. */
  successorOf(hash: string, client: string | null): string | null;
}

export function createRecentRefreshes(options: { now: () => number }): RecentRefreshes {
  const { now } = options;
  /** In order of time. */
  const recent = new Map<string, { successor: string; from: string; at: number }>();
  return {
    note(hash, successor, client) {
      for (const [old, { at }] of recent) {
        if (recent.size < MAX_KEPT && at > now() - GRACE_MS) break;
        recent.delete(old);
      }
      if (client !== null) recent.set(hash, { successor, from: addressBlock(client), at: now() });
    },
    successorOf(hash, client) {
      const found = recent.get(hash);
      if (!found || client === null || found.from !== addressBlock(client)) return null;
      return now() - found.at < GRACE_MS ? found.successor : null;
    },
  };
}
