import { uncounted, type CacheCount } from "@toolyard/cache";
import { ToolyardError, type Caller, type GraphClient, type Logger, type TokenVerifier } from "@toolyard/service-kit";
import { follow } from "@toolyard/service-kit/graph/follow.ts";
import { createAuthenticator, type Authenticator } from "./authenticator.ts";
import { createIdentityService } from "./introspection.ts";

/** Verifies callers by public keys and identity's answers, and follows its revocations. */
export interface IdentityClient extends Pick<Authenticator, "authenticate" | "forgetTokens" | "onRevoked"> {
  /** Follows revocations until `close`, over streams that break and logs that were trimmed. */
  start(): void;
  close(): Promise<void>;
}

export function createIdentityClient(options: {
  /** How identity is asked: in this process or over HTTP. */
  graph: GraphClient;
  /** The service that asks; it has `internal:introspect` and `internal:revocations`. */
  as: Caller;
  verifier: TokenVerifier;
  /** Whether stream tickets are taken. */
  takesTickets?: boolean;
  /** Whether a credential was known. */
  count?: CacheCount;
  logger: Logger;
  now?: () => number;
}): IdentityClient {
  const { graph, as, verifier, takesTickets = false, count = uncounted, logger, now = Date.now } = options;
  const identity = createIdentityService({ graph, as });
  const { introspect } = identity;
  const { authenticate, forgetTokens, onRevoked, revoke, revokeUnknown } = createAuthenticator({
    verifier,
    introspect,
    takesTickets,
    count,
    now,
  });
  const stopping = new AbortController();
  const { signal } = stopping;
  let following: Promise<void> = Promise.resolve();
  /** Where to go on in identity's log. */
  let after = "0";

  return {
    authenticate,
    forgetTokens,
    onRevoked,
    start() {
      following = follow({
        name: "revocations",
        open: () => identity.revocations(after, signal),
        take({ sequence, ...revocation }) {
          after = sequence;
          revoke(revocation);
        },
        onBroken(error) {
          if (!isOutsideOfLog(error)) return;
          logger.warn({ after }, "the log of revocations has lost this place: all credentials are verified again");
          after = "0";
          revokeUnknown();
        },
        signal,
        logger,
      });
    },
    async close() {
      stopping.abort();
      await following;
    },
  };
}

/** Whether the log was trimmed past the place asked for, or is another one, as from a backup. */
function isOutsideOfLog(error: unknown): boolean {
  if (!(error instanceof ToolyardError)) return false;
  return "oldestSequence" in error.extensions || "latestSequence" in error.extensions;
}
