import { createLocalJWKSet, createRemoteJWKSet, errors as joseErrors, type JWTVerifyGetKey } from "jose";

export interface JwksKeysOptions {
  url: string;
  /** How long keys are used before they are fetched again. */
  maxAgeMs?: number;
  /** The shortest time between two fetches, whatever keys tokens name: also how long a new key may be unknown. */
  minIntervalMs?: number;
  timeoutMs?: number;
  now?: () => number;
}

/**
 * The keys of an issuer, fetched when first needed, when they are old and when a token names an unknown one. While they cannot
 * be fetched, the known ones stay in use: an issuer may be away without all logins ending.
 */
export function createJwksKeys(options: JwksKeysOptions): JWTVerifyGetKey {
  const { url, maxAgeMs = 600_000, minIntervalMs = 2_000, timeoutMs = 5_000, now = Date.now } = options;
  const remote = createRemoteJWKSet(new URL(url), {
    timeoutDuration: timeoutMs,
    cooldownDuration: minIntervalMs,
    cacheMaxAge: maxAgeMs,
  });
  /** The last time that keys could not be fetched, with those known then. */
  let outage: { at: number; error: unknown; known: JWTVerifyGetKey | null } | null = null;

  return async (header, token) => {
    if (!outage || now() - outage.at >= minIntervalMs) {
      try {
        const key = await remote(header, token);
        outage = null;
        return key;
      } catch (error) {
        if (!isOutage(error)) throw error;
        const known = remote.jwks();
        outage = { at: now(), error, known: known ? createLocalJWKSet(known) : null };
      }
    }
    const { known, error } = outage;
    if (!known) throw error;
    try {
      return await known(header, token);
    } catch (cause) {
      // Not refused for good: the key may be one of those that cannot be fetched.
      throw cause instanceof joseErrors.JWKSNoMatchingKey ? error : cause;
    }
  };
}

/** Whether keys could not be fetched, as opposed to the token's key not being among them. */
export function isOutage(error: unknown): boolean {
  if (!(error instanceof joseErrors.JOSEError)) return true;
  return (
    error instanceof joseErrors.JWKSTimeout ||
    error.code === "ERR_JOSE_GENERIC" ||
    error instanceof joseErrors.JWKSInvalid
  );
}
