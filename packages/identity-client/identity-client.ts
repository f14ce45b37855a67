import { setTimeout as delay } from "node:timers/promises";
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

/** How long access tokens wait, in all, for the first reading of the log: parts that start together need a moment. */
const PATIENCE_MS = 5_000;

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
    knowsRevocations,
    count,
    now,
  });
  const stopping = new AbortController();
  const { signal } = stopping;
  /** Until identity's log was read to the end that it had, a revoked access token looks as good as any. */
  let isRead = false;
  const firstRead = Promise.withResolvers<void>();
  let patience: Promise<void> | null = null;
  let following: Promise<void> = Promise.resolve();
  /** Where to go on in identity's log. */
  let after = "0";
  /** The place to which it is to be read first. */
  let end: string | null = null;

  async function knowsRevocations(): Promise<boolean> {
    if (isRead) return true;
    patience ??= Promise.race([
      firstRead.promise,
      delay(PATIENCE_MS, undefined, { signal, ref: false }).catch(() => undefined), // closed: nobody waits any more
    ]);
    await patience;
    return isRead;
  }

  function noteRead(): void {
    if (isRead || end === null || Number(after) < Number(end)) return;
    isRead = true;
    firstRead.resolve();
  }

  async function* open() {
    if (!isRead) end = await identity.endOfRevocations(signal);
    noteRead();
    yield* identity.revocations(after, signal);
  }

  return {
    authenticate,
    forgetTokens,
    onRevoked,
    start() {
      following = follow({
        name: "revocations",
        open,
        take({ sequence, ...revocation }) {
          after = sequence;
          revoke(revocation);
          noteRead();
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
