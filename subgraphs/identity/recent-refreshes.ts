import type { Cache } from "@toolyard/cache";
import type { Sealer } from "@toolyard/service-kit";
import { addressBlock } from "@toolyard/service-kit/http/hosts.ts";
import { z } from "zod";

/**
 * How long an exchanged refresh token may be exchanged again: two tabs that refresh at once, or a client that lost the answer. As
 * Auth0's and Okta's leeways, which are of some seconds.
 */
const GRACE_MS = 10_000;

/**
 * Which refresh tokens were exchanged a moment ago, and from where. A thief would have to be at the user's own address, within these
 * seconds; and cannot use the token once what it was exchanged for has been used. Only in a cache, sealed: nothing of where users are can
 * be read, and where the cache has nothing the rule is as strict as without.
 */
export interface RecentRefreshes {
  /** @param successor Hash of the token that it was exchanged for. */
  note(hash: string, successor: string, client: string | null): Promise<void>;
  /** The result of the token's exchange, if that was a moment ago and by the same client; else null. */
  successorOf(hash: string, client: string | null): Promise<string | null>;
}

const noted = z.object({ successor: z.string(), from: z.string() });
const placeOf = (hash: string) => `recent-refresh:${hash}`;

export function createRecentRefreshes(options: { cache: Cache<string>; sealer: Sealer }): RecentRefreshes {
  const { cache, sealer } = options;

  function opened(sealed: string, hash: string): z.infer<typeof noted> | null {
    try {
      return noted.parse(JSON.parse(sealer.open(sealed, placeOf(hash))));
    } catch {
      // Others may write to the cache.
      return null;
    }
  }

  return {
    async note(hash, successor, client) {
      if (client === null) return;
      const sealed = sealer.seal(JSON.stringify({ successor, from: addressBlock(client) }), placeOf(hash));
      await cache.set(hash, sealed, GRACE_MS);
    },
    async successorOf(hash, client) {
      const sealed = client === null ? undefined : await cache.get(hash);
      if (client === null || sealed === undefined) return null;
      const known = opened(sealed, hash);
      return known?.from === addressBlock(client) ? known.successor : null;
    },
  };
}
