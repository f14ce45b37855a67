import { hash } from "node:crypto";
import { createMemoryCache } from "@toolyard/cache";
import { ToolyardError, anonymous, createCaller, type Caller } from "@toolyard/service-kit";
import { bearerOf } from "@toolyard/service-kit/http/bearer.ts";
import { errors as joseErrors, jwtVerify, type JWTPayload, type JWTVerifyGetKey } from "jose";
import type { Authenticator } from "./authentication.ts";
import { createJwksKeys, isOutage } from "./jwks-keys.ts";

/** Callers of a gateway that serves a third-party supergraph. */
export interface ForeignAuthenticator extends Authenticator {
  /** The scopes of a verified caller's token, for `@requiresScopes`; undefined for others. */
  scopesOf(caller: Caller): readonly string[] | undefined;
}

const never = () => () => undefined;
const noHeader = () =>
  Promise.reject(new ToolyardError("UNAUTHENTICATED", "This gateway takes no signed callers: send a bearer token."));

/** Where no tokens are verified: all callers are anonymous, and the subgraphs judge their credentials. */
export function createAnonymousAuthenticator(): ForeignAuthenticator {
  return {
    authenticate: async () => anonymous,
    authenticateHeader: noHeader,
    onRevoked: never,
    scopesOf: () => undefined,
  };
}

export interface JwksAuthenticatorOptions {
  jwksUrl: string;
  /** Null: any. */
  issuer: string | null;
  audience: string | null;
  /** The source of keys, instead of `jwksUrl`. */
  getKey?: JWTVerifyGetKey;
  now?: () => number;
}

/** The longest that a token is trusted without its signature being checked again: the key may have been withdrawn. */
const KNOWN_FOR_MS = 5 * 60_000;

/**
 * Verifies bearer tokens (JWT) by a JWKS. A caller without one is anonymous and served: authorization is the subgraphs'. A token that does
 * not verify is refused, so that nobody takes an expired login for an empty answer.
 */
export function createJwksAuthenticator(options: JwksAuthenticatorOptions): ForeignAuthenticator {
  const { jwksUrl, issuer, audience, now = Date.now } = options;
  const getKey = options.getKey ?? createJwksKeys({ url: jwksUrl });
  const known = createMemoryCache<Caller>({ maxEntries: 10_000, now });
  const scopes = new WeakMap<Caller, readonly string[]>();

  async function verify(token: string): Promise<JWTPayload> {
    try {
      const { payload } = await jwtVerify(token, getKey, {
        ...(issuer !== null && { issuer }),
        ...(audience !== null && { audience }),
        clockTolerance: 5,
        currentDate: new Date(now()),
      });
      return payload;
    } catch (cause) {
      if (cause instanceof joseErrors.JWTExpired)
        throw new ToolyardError("UNAUTHENTICATED", "The token has expired: get a new one.", { cause });
      if (!(cause instanceof joseErrors.JOSEError) || isOutage(cause))
        throw new ToolyardError("UPSTREAM_UNAVAILABLE", "The keys that tokens are verified by cannot be fetched.", {
          cause,
          retryAfterSeconds: 5,
        });
      throw new ToolyardError("UNAUTHENTICATED", `The token is not accepted: ${cause.message}.`, { cause });
    }
  }

  return {
    async authenticate(authorization) {
      const token = bearerOf(authorization);
      if (token === null) return anonymous;
      // A memory leak must not leak tokens.
      const key = hash("sha256", token, "base64url");
      return known.wrap(
        key,
        async () => {
          const payload = await verify(token);
          const caller = createCaller({
            kind: "user",
            subject: payload.sub ?? `token ${key}`,
            role: null,
            scopes: [],
            servicePermissions: [],
            credential: null,
            toolIds: null,
            expiresAt: payload.exp === undefined ? null : payload.exp * 1_000,
          });
          scopes.set(caller, scopesOfClaims(payload));
          return caller;
        },
        ({ expiresAt }) => Math.min(KNOWN_FOR_MS, (expiresAt ?? Infinity) - now()),
      );
    },
    authenticateHeader: noHeader,
    onRevoked: never,
    scopesOf: (caller) => scopes.get(caller),
  };
}

/** RFC 8693's `scope`, and `scp` and `scopes` as some issuers write it: words, or a list of them. */
function scopesOfClaims(payload: JWTPayload): string[] {
  const claims = [payload["scope"], payload["scp"], payload["scopes"]];
  return claims.flatMap((claim) => {
    if (typeof claim === "string") return claim.split(" ").filter((word) => word !== "");
    return Array.isArray(claim) ? claim.filter((word) => typeof word === "string") : [];
  });
}
