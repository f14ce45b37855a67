import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";
import {
  ToolyardError,
  anonymous,
  createCaller,
  type Caller,
  type Credential,
  type CredentialRevocation,
  type RevocationList,
  type Role,
  type Scope,
  type TokenVerifier,
} from "@toolyard/service-kit";

/** What identity says of a credential that cannot be checked by a public key. */
export interface Introspection {
  active: boolean;
  subject: string | null;
  role: Role | null;
  scopes: Scope[];
  /** Epoch ms. */
  expiresAt: number | null;
  /** The API key that this is, or that a ticket was made with. */
  apiKeyId: string | null;
  /** The access token that this is, or that a ticket was made with, and when it was issued (epoch ms). */
  tokenId: string | null;
  issuedAt: number | null;
}

/** Finds out, once for each request or socket, who calls. */
export interface Authenticator {
  /**
   * @param authorization The value of an Authorization header: `Bearer <access token, API key or stream ticket>`; undefined is anonymous.
   * @throws ToolyardError UNAUTHENTICATED for a credential that is malformed, expired or revoked; UPSTREAM_UNAVAILABLE when
   *   identity does not answer for an API key that is not known.
   */
  authenticate(authorization: string | undefined): Promise<Caller>;
  /** A caller named by another process that holds SECRET_KEY. */
  authenticateHeader(signedCaller: string): Promise<Caller>;
  /** Whether what was good when a socket opened still is. */
  isRevoked(caller: Caller): boolean;
  /** Takes effect at once. */
  revoke(revocation: CredentialRevocation): void;
  /** Calls back at every revocation with whom it concerns, so that their open streams can be closed. Returns unsubscribe. */
  onRevoked(listener: (isConcerned: (caller: Caller) => boolean) => void): () => void;
}

const KNOWN_FOR_MS = 30_000;
const MAX_KNOWN = 10_000;
/** How long what was not good is refused without identity being asked again: a disabled user may be enabled meanwhile. */
const REFUSED_FOR_MS = 3_000;
/** More questions than this at once are somebody guessing. */
const MAX_ASKING = 64;
/** Keys and tickets are shorter. */
const MAX_OPAQUE_LENGTH = 256;

export function createAuthenticator(options: {
  verifier: TokenVerifier;
  verifyCallerHeader: (header: string) => Promise<Caller>;
  revocations: RevocationList;
  introspect: (credential: string) => Promise<Introspection>;
  now?: () => number;
}): Authenticator {
  const { verifier, verifyCallerHeader, revocations, introspect, now = Date.now } = options;
  /** Verified credentials by their hash, so that a leak of memory leaks none. */
  const known = new LRUCache<string, { caller: Caller; until: number }>({ max: MAX_KNOWN });
  const refused = new LRUCache<string, number>({ max: MAX_KNOWN });
  /** One question for each credential, whoever sends it meanwhile. */
  const asking = new Map<string, Promise<Introspection>>();
  let questions = 0;
  const listeners = new Set<(isConcerned: (caller: Caller) => boolean) => void>();
  let generation = 0;

  function remember(key: string, caller: Caller, forMs: number): void {
    known.set(key, { caller, until: Math.min(now() + forMs, caller.expiresAt ?? Infinity) });
  }

  function ask(key: string, credential: string): Promise<Introspection> {
    const running = asking.get(key);
    // Of two who send the same ticket, one finds it taken.
    if (running && !credential.startsWith("tyt_")) return running;
    if (questions >= MAX_ASKING) {
      throw new ToolyardError("RATE_LIMITED", "Too many unknown credentials are being checked. Try again.", {
        retryAfterSeconds: 1,
      });
    }
    questions += 1;
    const asked = introspect(credential).finally(() => {
      questions -= 1;
      if (asking.get(key) === asked) asking.delete(key);
    });
    asking.set(key, asked);
    return asked;
  }

  async function verifyOpaque(key: string, credential: string): Promise<Caller> {
    if (credential.length > MAX_OPAQUE_LENGTH || (refused.get(key) ?? 0) > now()) throw unknownCredential();
    const { active, subject, role, scopes, expiresAt, ...made } = await ask(key, credential);
    if (!active || subject === null) {
      refused.set(key, now() + REFUSED_FOR_MS);
      throw unknownCredential();
    }
    return createCaller({
      kind: "user",
      subject,
      role,
      scopes,
      servicePermissions: [],
      credential: credentialOf(made),
      expiresAt,
    });
  }

  return {
    async authenticate(authorization) {
      if (authorization === undefined || authorization.trim() === "") return anonymous;
      const credential = /^Bearer +(\S+)$/i.exec(authorization.trim())?.[1];
      if (credential === undefined) {
        throw new ToolyardError(
          "UNAUTHENTICATED",
          "The Authorization header must be `Bearer <access token or API key>`.",
        );
      }
      const key = createHash("sha256").update(credential).digest("base64url");
      const hit = known.get(key);
      if (hit && hit.until > now() && !revocations.isRevoked(hit.caller)) return hit.caller;
      known.delete(key);
      const before = generation;
      const opaque = credential.startsWith("ty_") || credential.startsWith("tyt_");
      const caller = opaque ? await verifyOpaque(key, credential) : await verifier.verify(credential);
      if (revocations.isRevoked(caller))
        throw new ToolyardError("UNAUTHENTICATED", "The credential was revoked: log in again.");
      // A ticket is good once; what was asked before a revocation may be stale by now.
      if (!credential.startsWith("tyt_") && before === generation)
        remember(key, caller, opaque ? KNOWN_FOR_MS : Infinity);
      return caller;
    },
    authenticateHeader: verifyCallerHeader,
    isRevoked: (caller) => revocations.isRevoked(caller),
    revoke(revocation) {
      generation += 1;
      revocations.add(revocation);
      // Keys and tickets say nothing of when they were made: a user's revocation ends what they hold now.
      const isConcerned = (caller: Caller) =>
        revocations.isRevoked(caller) ||
        (revocation.userId !== null &&
          caller.userId === revocation.userId &&
          caller.credential?.type !== "access-token");
      for (const [key, { caller }] of known) if (isConcerned(caller)) known.delete(key);
      for (const listener of listeners) listener(isConcerned);
    },
    onRevoked(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}

function unknownCredential(): ToolyardError {
  return new ToolyardError("UNAUTHENTICATED", "The API key or ticket is unknown, expired or revoked.");
}

/** A ticket ends with what it was made with; it never counts as a password just entered. */
function credentialOf({
  apiKeyId,
  tokenId,
  issuedAt,
}: Pick<Introspection, "apiKeyId" | "tokenId" | "issuedAt">): Credential | null {
  if (apiKeyId !== null) return { type: "api-key", apiKeyId };
  return tokenId === null ? null : { type: "access-token", tokenId, issuedAt: issuedAt ?? 0, passwordAt: null };
}
