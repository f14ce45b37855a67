import type { Caller } from "./caller.ts";
import { ACCESS_TOKEN_SECONDS } from "./tokens.ts";

/** One row of identity's revocation log. Exactly one of the ids is set. */
export interface CredentialRevocation {
  at: number;
  tokenId: string | null;
  apiKeyId: string | null;
  userId: string | null;
}

/** The revocations that a verifier remembers: each for as long as an access token could still be good. */
export interface RevocationList {
  add(revocation: CredentialRevocation): void;
  isRevoked(caller: Caller): boolean;
}

export function createRevocationList(options: { now?: () => number } = {}): RevocationList {
  const { now = Date.now } = options;
  const memoryMs = (ACCESS_TOKEN_SECONDS + 60) * 1000;
  const tokens = new Map<string, number>();
  const users = new Map<string, number>();
  /** Each with the time at which this list received it, since a late revocation must have its effect, too. */
  const keys = new Map<string, number>();
  const trim = (map: Map<string, number>) => {
    const limit = now() - memoryMs;
    for (const [id, at] of map) {
      if (at >= limit) break; // insertion order is nearly time order
      map.delete(id);
    }
  };
  return {
    add({ at, tokenId, apiKeyId, userId }) {
      if (tokenId !== null) tokens.set(tokenId, at);
      if (apiKeyId !== null) keys.set(apiKeyId, now());
      if (userId !== null) {
        users.delete(userId);
        users.set(userId, at);
      }
      trim(tokens);
      // Identity does not vouch for it any more, and callers admitted with it before have been told by then.
      trim(keys);
      trim(users);
    },
    isRevoked({ credential, userId }) {
      if (credential?.type === "api-key") return keys.has(credential.apiKeyId);
      if (credential?.type !== "access-token") return false;
      const userAt = userId === null ? undefined : users.get(userId);
      return tokens.has(credential.tokenId) || (userAt !== undefined && credential.issuedAt <= userAt);
    },
  };
}
