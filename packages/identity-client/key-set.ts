import {
  AWAY_RETRY_SECONDS,
  ToolyardError,
  createTokenVerifier,
  type Caller,
  type TokenVerifier,
} from "@toolyard/service-kit";
import type { JSONWebKeySet } from "jose";
import { decodeProtectedHeader } from "jose/decode/protected_header";

/** Verifies access tokens by the control plane's public keys, which it learns as they change. */
export interface KeySet extends TokenVerifier {
  /**
   * @throws ToolyardError UNAUTHENTICATED for a token that is not good; UPSTREAM_UNAVAILABLE when its key is unknown and the
   *   control plane cannot be asked for it.
   */
  verify(token: string): Promise<Caller>;
  /** Takes these keys; what was verified by keys that are no longer there is to be verified again. */
  use(keys: JSONWebKeySet): void;
  /** Asks for the keys now. @throws ToolyardError when they cannot be had. */
  refresh(): Promise<void>;
}

/** At most one question in this time, however many tokens name unknown keys. */
const MIN_REFRESH_MS = 10_000;

export function createKeySet(options: {
  fetchKeys: () => Promise<JSONWebKeySet>;
  /** Called with every set that is new. */
  onChange: (keys: JSONWebKeySet) => void;
  now?: () => number;
}): KeySet {
  const { fetchKeys, onChange, now = Date.now } = options;
  let verifier: TokenVerifier | null = null;
  let ids = new Set<string>();
  let current = "";
  let fetching: Promise<void> | null = null;
  let last: { at: number; failed: unknown } | null = null;

  function use(keys: JSONWebKeySet): void {
    verifier = createTokenVerifier({ keys, now });
    ids = new Set(keys.keys.flatMap(({ kid }) => (kid === undefined ? [] : [kid])));
    const text = JSON.stringify(keys);
    if (text === current) return;
    current = text;
    onChange(keys);
  }

  function refresh(): Promise<void> {
    fetching ??= fetchKeys()
      .then(
        (keys) => {
          last = { at: now(), failed: null };
          use(keys);
        },
        (error: unknown) => {
          last = { at: now(), failed: error };
          throw error;
        },
      )
      .finally(() => {
        fetching = null;
      });
    return fetching;
  }

  return {
    use,
    refresh,
    async verify(token) {
      const kid = keyIdOf(token);
      if (kid === null) {
        throw new ToolyardError(
          "UNAUTHENTICATED",
          "The credential is malformed: it is neither an access token nor an API key.",
        );
      }
      if (!verifier || !ids.has(kid)) {
        if (!last || now() - last.at >= MIN_REFRESH_MS) await refresh().catch(() => undefined); // `last` has its failure
        if (last?.failed) throw unknownKeys(last.failed);
      }
      if (!verifier) throw unknownKeys();
      return verifier.verify(token);
    },
  };
}

/** Whoever asks is not known: the reason, which may name addresses, is for the log. */
function unknownKeys(cause?: unknown): ToolyardError {
  const message = "This credential cannot be checked now: the keys of the control plane are not known. Try again.";
  return new ToolyardError("UPSTREAM_UNAVAILABLE", message, { cause, retryAfterSeconds: AWAY_RETRY_SECONDS });
}

/** The `kid` a token names, "" when it names none; null when it is not a token. */
function keyIdOf(token: string): string | null {
  if (!/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)) return null;
  try {
    return decodeProtectedHeader(token).kid ?? "";
  } catch {
    return null; // its header is no JSON: no token
  }
}
