import { hash } from "node:crypto";
import {
  AWAY_RETRY_SECONDS,
  ToolyardError,
  anonymous,
  callerKey,
  createCaller,
  createRevocationList,
  type Caller,
  type Credential,
  type CredentialRevocation,
  type TokenVerifier,
} from "@toolyard/service-kit";
import { uncounted, type CacheCount } from "@toolyard/cache";
import { bearerOf } from "@toolyard/service-kit/http/bearer.ts";
import { LRUCache } from "lru-cache";
import type { Introspection } from "./introspection.ts";

/** Whether a caller's credential is not good any more. */
type IsConcerned = (caller: Caller) => boolean;

/** Authenticates callers. */
export interface Authenticator {
  /**
   * At once for a credential that is known; else a promise.
   * @param authorization The header's value; without one the caller is anonymous.
   * @throws ToolyardError, at once or by the promise: UNAUTHENTICATED for a malformed, expired, revoked or unknown credential;
   *   UPSTREAM_UNAVAILABLE for an unknown one while identity is away, and for a user's access token while revocations are unknown; RATE_LIMITED while too many unknown ones are asked about.
   */
  authenticate(authorization: string | undefined): Caller | Promise<Caller>;
  /** Takes effect at once, also on running verifications. */
  revoke(revocation: CredentialRevocation): void;
  /** Revocations may have been missed: every user's credential is verified again, and open streams end. */
  revokeUnknown(): void;
  /** Access tokens are verified again: the keys changed. */
  forgetTokens(): void;
  /** Calls back at every revocation with whom it concerns, so that their open streams can be ended. Returns unsubscribe. */
  onRevoked(listener: (isConcerned: IsConcerned) => void): () => void;
}

interface Verified {
  caller: Caller;
  /** How long it need not be verified again; null when it is known already. */
  freshMs: number | null;
}

interface Known {
  caller: Caller;
  /** Epoch ms until which nobody need be asked: never after the credential's end. */
  freshUntil: number;
  /** Epoch ms of the last word of identity. */
  verifiedAt: number;
}

const KEY_FRESH_MS = 30_000;
/** How long a bad credential is refused without asking identity again: a disabled user may be enabled meanwhile. */
const REFUSED_FRESH_MS = 3_000;
/** How long a good credential stays good while identity is away, and how long until identity is then asked again. */
const KNOWN_GOOD_MS = 60 * 60_000;
const AWAY_RETRY_MS = 2_000;
const MAX_KNOWN = 10_000;
const MAX_KNOWN_BYTES = 16 * 1_048_576;
/** About what an entry takes beside its caller's text. */
const ENTRY_BYTES = 512;
/** More questions than this at once are somebody guessing. */
const MAX_ASKING = 64;
/** Keys and tickets are shorter. */
const MAX_OPAQUE_LENGTH = 256;
/** How often a credential is verified again because of revocations meanwhile. */
const MAX_ATTEMPTS = 3;

export function createAuthenticator(options: {
  /** Of access tokens, by public keys. */
  verifier: TokenVerifier;
  /** @throws whatever, when identity does not answer. */
  introspect: (credential: string) => Promise<Introspection>;
  /** Whether stream tickets are taken, which are good once. */
  takesTickets?: boolean;
  /** Whether all revocations until now were taken; may wait a moment for them. */
  knowsRevocations?: () => Promise<boolean>;
  /** Whether a credential was known. */
  count?: CacheCount;
  now?: () => number;
}): Authenticator {
  const { verifier, introspect, takesTickets = false, count = uncounted, now = Date.now } = options;
  const { knowsRevocations = async () => true } = options;
  const revocations = createRevocationList({ now });
  // All by the credential's SHA-256, so that a leak of memory leaks none.
  const known = new LRUCache<string, Known>({
    max: MAX_KNOWN,
    maxSize: MAX_KNOWN_BYTES,
    sizeCalculation: ({ caller }) => ENTRY_BYTES + 2 * callerKey(caller).length,
  });
  const refused = new LRUCache<string, number>({ max: MAX_KNOWN });
  const verifying = new Map<string, Promise<Caller>>();
  let questions = 0;
  /** The revocations since the start of each running verification. */
  const news = new Set<IsConcerned[]>();
  const listeners = new Set<(isConcerned: IsConcerned) => void>();

  async function verifyOpaque(key: string, credential: string): Promise<Verified> {
    if (credential.length > MAX_OPAQUE_LENGTH || (refused.get(key) ?? 0) > now()) throw unknownCredential(credential);
    if (questions >= MAX_ASKING) {
      throw new ToolyardError("RATE_LIMITED", "Too many unknown credentials are being checked. Try again.", {
        retryAfterSeconds: 1,
      });
    }
    questions += 1;
    let found: Introspection;
    try {
      found = await introspect(credential);
    } catch (cause) {
      return { caller: knownGood(key, cause), freshMs: null };
    } finally {
      questions -= 1;
    }
    const proof = found.active ? credentialOf(found) : null;
    if (found.subject === null || proof === null) {
      known.delete(key);
      refused.set(key, now() + REFUSED_FRESH_MS);
      throw unknownCredential(credential);
    }
    const { subject, role, scopes, toolIds, expiresAt } = found;
    const caller = createCaller({
      kind: "user",
      subject,
      role,
      scopes,
      servicePermissions: [],
      credential: proof,
      toolIds,
      expiresAt,
    });
    return { caller, freshMs: KEY_FRESH_MS };
  }

  /** The caller as last verified, where identity does not answer. @throws ToolyardError UPSTREAM_UNAVAILABLE for others */
  function knownGood(key: string, cause: unknown): Caller {
    const old = known.get(key);
    const time = now();
    if (old && time - old.verifiedAt < KNOWN_GOOD_MS && time < endOf(old.caller)) {
      old.freshUntil = Math.min(time + AWAY_RETRY_MS, endOf(old.caller));
      return old.caller;
    }
    throw uncheckable(cause);
  }

  async function verify(key: string, credential: string, kind: Kind): Promise<Caller> {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const since: IsConcerned[] = [];
      news.add(since);
      const { caller, freshMs } = await (
        kind === "TOKEN" ? verifyToken(credential) : verifyOpaque(key, credential)
      ).finally(() => news.delete(since));
      if (revocations.isRevoked(caller)) throw revoked();
      if (!since.some((isConcerned) => isConcerned(caller))) {
        const verifiedAt = now();
        if (kind !== "TICKET" && freshMs !== null)
          known.set(key, { caller, verifiedAt, freshUntil: Math.min(verifiedAt + freshMs, endOf(caller)) });
        return caller;
      }
      // The answer may be older than the revocation. A ticket is used up by now.
      if (kind === "TICKET") throw revoked();
    }
    return knownGood(key, new Error("Each answer was overtaken by a revocation."));
  }

  async function verifyToken(token: string): Promise<Verified> {
    const caller = await verifier.verify(token);
    // A service's token is never revoked, and by it a part that starts asks for the revocations.
    if (caller.kind === "user" && !(await knowsRevocations()))
      throw uncheckable(new Error("The revocations were not read yet."));
    return { caller, freshMs: Infinity };
  }

  /** One verification at a time for each credential, but tickets: of two who send the same, one finds it taken. */
  function verifyOnce(key: string, credential: string): Promise<Caller> {
    const kind = kindOf(credential, takesTickets);
    if (kind === "TICKET") return verify(key, credential, kind);
    const running = verifying.get(key);
    if (running) return running;
    const verified = verify(key, credential, kind).finally(() => verifying.delete(key));
    verifying.set(key, verified);
    return verified;
  }

  function forgetWhere(isConcerned: IsConcerned): void {
    for (const since of news) since.push(isConcerned);
    const keys: string[] = [];
    known.forEach(({ caller }, key) => isConcerned(caller) && keys.push(key));
    for (const key of keys) known.delete(key);
  }

  function end(isConcerned: IsConcerned): void {
    forgetWhere(isConcerned);
    for (const listener of listeners) listener(isConcerned);
  }

  return {
    authenticate(authorization) {
      const credential = bearerOf(authorization);
      if (credential === null) return anonymous;
      const key = hash("sha256", credential, "base64url");
      const hit = known.get(key);
      const isFresh = hit !== undefined && now() < hit.freshUntil;
      if (isFresh) count.hit();
      else count.miss();
      return isFresh ? hit.caller : verifyOnce(key, credential);
    },
    revoke(revocation) {
      revocations.add(revocation);
      const { userId } = revocation;
      // Keys and tickets do not say when they were made: a user's revocation ends what they hold now.
      end(
        (caller) =>
          revocations.isRevoked(caller) ||
          (userId !== null && caller.userId === userId && caller.credential?.type !== "access-token"),
      );
    },
    revokeUnknown: () => end(({ kind }) => kind === "user"),
    forgetTokens: () => forgetWhere(({ credential }) => credential?.type !== "api-key"),
    onRevoked(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}

/** How stream tickets begin. */
export const TICKET_PREFIX = "tyt_";

type Kind = "TOKEN" | "KEY" | "TICKET";

function kindOf(credential: string, takesTickets: boolean): Kind {
  if (credential.startsWith("ty_")) return "KEY";
  return takesTickets && credential.startsWith(TICKET_PREFIX) ? "TICKET" : "TOKEN";
}

function endOf({ expiresAt }: Caller): number {
  return expiresAt ?? Infinity;
}

function revoked(): ToolyardError {
  return new ToolyardError("UNAUTHENTICATED", "The credential was revoked: log in again.");
}

function uncheckable(cause: unknown): ToolyardError {
  return new ToolyardError(
    "UPSTREAM_UNAVAILABLE",
    "This credential cannot be checked now: the identity service is away. Try again.",
    { cause, retryAfterSeconds: AWAY_RETRY_SECONDS },
  );
}

function unknownCredential(credential: string): ToolyardError {
  const what = credential.startsWith("ty_")
    ? "API key is unknown, expired or revoked"
    : "ticket is unknown, expired or used";
  return new ToolyardError("UNAUTHENTICATED", `The ${what}.`);
}

/** A ticket ends with what it was made with; it never counts as a password just entered. Null where nothing could be revoked. */
function credentialOf({ apiKeyId, tokenId, issuedAt }: Introspection): Credential | null {
  if (apiKeyId !== null) return { type: "api-key", apiKeyId };
  return tokenId === null ? null : { type: "access-token", tokenId, issuedAt: issuedAt ?? 0, passwordAt: null };
}
