import { hash } from "node:crypto";
import {
  ToolyardError,
  createCaller,
  type Caller,
  type CredentialRevocation,
  type RevocationList,
  type Role,
  type Scope,
} from "@toolyard/service-kit";

/** What identity says of a credential that cannot be checked by a public key. */
export interface Introspection {
  active: boolean;
  subject: string | null;
  role: Role | null;
  scopes: Scope[];
  /** Epoch ms. */
  expiresAt: number | null;
}

/** Finds out who calls. */
export interface Authenticator {
  /**
   * At once for a credential that is known; else a promise.
   * @param authorization The header's value.
   * @throws ToolyardError UNAUTHENTICATED for what is not good; UPSTREAM_UNAVAILABLE for what is unknown while identity is away.
   */
  authenticate(authorization: string | undefined): Caller | Promise<Caller>;
  /** Takes effect at once. Answers whom it concerns. */
  revoke(revocation: CredentialRevocation): (caller: Caller) => boolean;
  /** Access tokens are verified again: the keys changed. */
  forgetTokens(): void;
}

interface Known {
  caller: Caller;
  /** Epoch ms until which nobody need be asked. */
  freshUntil: number;
  /** Epoch ms of the last word of identity. */
  verifiedAt: number;
}

const API_KEY = /^ty_([^_]+)_./;
const KEY_FRESH_MS = 30_000;
const UNKNOWN_FRESH_MS = 3_000;
/** How long what was good stays good while identity is away, and how long until it is asked again then. */
const KNOWN_GOOD_MS = 60 * 60_000;
const AWAY_RETRY_MS = 2_000;
const MAX_KNOWN = 10_000;
/** More questions than this at once are somebody guessing. */
const MAX_ASKING = 64;

export function createAuthenticator(options: {
  /** Of an access token, by public keys. */
  verifyToken: (token: string) => Promise<Caller>;
  /** @throws whatever, when identity does not answer. */
  introspect: (credential: string) => Promise<Introspection>;
  revocations: RevocationList;
  now?: () => number;
}): Authenticator {
  const { verifyToken, introspect, revocations, now = Date.now } = options;
  /** By the credential's SHA-256, so that a leak of memory leaks none. The least recently used first. */
  const known = new Map<string, Known>();
  const refused = new Map<string, number>();
  const asking = new Map<string, Promise<Caller>>();
  /** Rise with every revocation, and with every change of keys: an answer asked for before is not remembered. */
  let revocationCount = 0;
  let keyChanges = 0;

  function remember(key: string, entry: Known): void {
    known.delete(key);
    if (known.size >= MAX_KNOWN) known.delete(known.keys().next().value ?? "");
    known.set(key, entry);
  }

  async function verifyAccessToken(key: string, token: string): Promise<Caller> {
    const before = revocationCount + keyChanges;
    const caller = await verifyToken(token);
    if (revocations.isRevoked(caller)) throw revoked();
    if (before === revocationCount + keyChanges) {
      remember(key, { caller, freshUntil: caller.expiresAt ?? Infinity, verifiedAt: now() });
    }
    return caller;
  }

  async function verifyApiKey(key: string, credential: string): Promise<Caller> {
    const before = revocationCount;
    let found: Introspection;
    try {
      found = await introspect(credential);
    } catch (cause) {
      const old = known.get(key);
      if (old && now() - old.verifiedAt < KNOWN_GOOD_MS && !hasExpired(old.caller, now())) {
        old.freshUntil = now() + AWAY_RETRY_MS;
        return old.caller;
      }
      throw new ToolyardError(
        "UPSTREAM_UNAVAILABLE",
        "This credential cannot be checked now: the identity service is away. Try again.",
        { cause },
      );
    }
    const apiKeyId = API_KEY.exec(credential)?.[1];
    if (!found.active || found.subject === null || apiKeyId === undefined) {
      known.delete(key);
      if (refused.size >= MAX_KNOWN) refused.clear();
      refused.set(key, now() + UNKNOWN_FRESH_MS);
      throw unknownKey();
    }
    const caller = createCaller({
      kind: "user",
      subject: found.subject,
      role: found.role,
      scopes: found.scopes,
      servicePermissions: [],
      credential: { type: "api-key", apiKeyId },
      expiresAt: found.expiresAt,
    });
    if (revocations.isRevoked(caller)) throw revoked();
    if (before === revocationCount) remember(key, { caller, freshUntil: now() + KEY_FRESH_MS, verifiedAt: now() });
    return caller;
  }

  /** One question at a time for each credential. */
  function ask(key: string, credential: string): Promise<Caller> {
    const running = asking.get(key);
    if (running) return running;
    const isKey = credential.startsWith("ty_");
    if (isKey) {
      if ((refused.get(key) ?? 0) > now()) throw unknownKey();
      refused.delete(key);
      if (asking.size >= MAX_ASKING) {
        throw new ToolyardError("RATE_LIMITED", "Too many unknown credentials are being checked. Try again.", {
          retryAfterSeconds: 1,
        });
      }
    }
    const asked = (isKey ? verifyApiKey(key, credential) : verifyAccessToken(key, credential)).finally(() =>
      asking.delete(key),
    );
    asking.set(key, asked);
    return asked;
  }

  return {
    authenticate(authorization) {
      const credential = credentialOf(authorization);
      const key = hash("sha256", credential, "base64url");
      const hit = known.get(key);
      if (hit && hit.freshUntil > now() && !hasExpired(hit.caller, now())) {
        if (known.size > MAX_KNOWN / 2) remember(key, hit);
        return hit.caller;
      }
      return ask(key, credential);
    },
    revoke(revocation) {
      revocationCount += 1;
      revocations.add(revocation);
      // API keys do not say when they were made: a user's revocation ends what is remembered of them.
      const isConcerned = (caller: Caller) =>
        revocations.isRevoked(caller) ||
        (revocation.userId !== null &&
          caller.userId === revocation.userId &&
          caller.credential?.type !== "access-token");
      for (const [key, { caller }] of known) if (isConcerned(caller)) known.delete(key);
      return isConcerned;
    },
    forgetTokens() {
      keyChanges += 1;
      for (const [key, { caller }] of known) if (caller.credential?.type !== "api-key") known.delete(key);
    },
  };
}

/** @throws ToolyardError UNAUTHENTICATED when there is none, or another kind than Bearer. */
function credentialOf(authorization: string | undefined): string {
  if (authorization === undefined || authorization.trim() === "") {
    throw new ToolyardError(
      "UNAUTHENTICATED",
      "Calling a tool takes a credential: send `Authorization: Bearer <access token or API key>`.",
    );
  }
  if (authorization.startsWith("Bearer ") && !authorization.includes(" ", 7)) return authorization.slice(7);
  const credential = /^Bearer +(\S+) *$/i.exec(authorization)?.[1];
  if (credential === undefined) {
    throw new ToolyardError("UNAUTHENTICATED", "The Authorization header must be `Bearer <access token or API key>`.");
  }
  return credential;
}

function hasExpired(caller: Caller, now: number): boolean {
  return caller.expiresAt !== null && caller.expiresAt <= now;
}

function revoked(): ToolyardError {
  return new ToolyardError("UNAUTHENTICATED", "The credential was revoked: log in again.");
}

function unknownKey(): ToolyardError {
  return new ToolyardError("UNAUTHENTICATED", "The API key is unknown, expired or revoked.");
}
