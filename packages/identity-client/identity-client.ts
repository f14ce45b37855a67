import { setTimeout as delay } from "node:timers/promises";
import { uncounted, type CacheCount } from "@toolyard/cache";
import {
  ToolyardError,
  UntimelyToken,
  messageOf,
  type Caller,
  type GraphClient,
  type Logger,
  type TokenVerifier,
} from "@toolyard/service-kit";
import { follow } from "@toolyard/service-kit/graph/follow.ts";
import { createMeasuredClock, type MeasuredClock } from "@toolyard/service-kit/process/measured-clock.ts";
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
/** However many old tokens come, identity is asked for its time no more often. */
const JUDGED_ANEW_MS = 1_000;

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
  /** By which they are judged: measured when revocations begin to be followed, and from then on. */
  clock?: MeasuredClock;
}): IdentityClient {
  const { graph, as, verifier, takesTickets = false, count = uncounted, logger } = options;
  const { clock = createIdentityClock({ graph, as }) } = options;
  const identity = createIdentityService({ graph, as });
  const { introspect } = identity;
  const { authenticate, forgetTokens, onRevoked, revoke, revokeUnknown } = createAuthenticator({
    verifier: { verify },
    introspect,
    takesTickets,
    knowsRevocations,
    count,
    now: clock.now,
  });
  let judged = { at: -Infinity, measured: Promise.resolve(false) };
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

  /** A token's time is judged by identity's clock as it is now: it may not have been measured yet, or was set since. */
  async function verify(token: string): Promise<Caller> {
    try {
      return await verifier.verify(token);
    } catch (error) {
      if (!(error instanceof UntimelyToken)) throw error;
      if (performance.now() - judged.at >= JUDGED_ANEW_MS) judged = { at: performance.now(), measured: measure() };
      if (!(await judged.measured)) throw error;
      return verifier.verify(token);
    }
  }

  /** @returns false where identity does not answer, or is of an older version that tells no time */
  async function measure(): Promise<boolean> {
    try {
      await clock.measure();
      return true;
    } catch (error) {
      logger.debug({ reason: messageOf(error) }, "identity's clock was not measured");
      return false;
    }
  }

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
    const measured = measure();
    if (!isRead) [end] = await Promise.all([identity.endOfRevocations(signal), measured]);
    noteRead();
    yield* identity.revocations(after, signal);
  }

  return {
    authenticate,
    forgetTokens,
    onRevoked,
    start() {
      clock.start();
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
      clock.close();
      stopping.abort();
      await following;
    },
  };
}

/** The clock by which credentials are issued, as those who judge them have it. @param options.own This host's */
export function createIdentityClock(options: { graph: GraphClient; as: Caller; own?: () => number }): MeasuredClock {
  const identity = createIdentityService(options);
  return createMeasuredClock({ ask: () => identity.time(), ...(options.own && { own: options.own }) });
}

/** Whether the log was trimmed past the place asked for, or is another one, as from a backup. */
function isOutsideOfLog(error: unknown): boolean {
  if (!(error instanceof ToolyardError)) return false;
  return "oldestSequence" in error.extensions || "latestSequence" in error.extensions;
}
