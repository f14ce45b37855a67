import { LRUCache } from "lru-cache";
import { ToolyardError, type Caller } from "@toolyard/service-kit";
import { addressBlock } from "@toolyard/service-kit/http/hosts.ts";

/** Limits what one caller may do at a time. Services are trusted with more than people: they are not limited. */
export interface CallerLimits {
  /**
   * Counts one operation.
   * @param isNew Whether its text has to be parsed, validated and planned first: callers without a credential get few of these.
   * @throws ToolyardError RATE_LIMITED with `retryAfterSeconds`
   */
  charge(caller: CallerKey, isNew?: boolean): void;
  /**
   * Counts a running operation. Call the returned function when it has ended.
   * @throws ToolyardError RATE_LIMITED when the caller has as many running as are allowed
   */
  enter(kind: "operation" | "subscription", caller: CallerKey): () => void;
}

interface CallerKey {
  caller: Pick<Caller, "kind" | "subject">;
  /** Tells callers without a credential apart. */
  clientAddress?: string | undefined;
}

export interface CallerLimitsOptions {
  /** Operations a minute, in the long run. */
  operationsPerMinute: number;
  /** How many may come at once after a quiet time; a quarter of a minute's share by default. */
  burst?: number;
  maxConcurrentOperations: number;
  maxConcurrentSubscriptions: number;
  now?: () => number;
}

interface Known {
  key: string;
  /** Operations that may come now. */
  allowance: number;
  updatedAt: number;
  operation: number;
  subscription: number;
}

/** The caller who has been quiet the longest is forgotten; but with as many active within a minute, addresses are no bound. */
const MAX_QUIET = 20_000;

/** A new text takes the event loop some thirty times as long as a known one. */
const NEW_TEXTS_PER_MINUTE = 120;

/** For callers that are not limited. */
export const noCallerLimits: CallerLimits = { charge: () => undefined, enter: () => () => undefined };

export function createCallerLimits(options: CallerLimitsOptions): CallerLimits {
  const { operationsPerMinute, maxConcurrentOperations, maxConcurrentSubscriptions, now = Date.now } = options;
  const perMs = operationsPerMinute / 60_000;
  const burst = Math.max(1, options.burst ?? operationsPerMinute / 4);
  const most = { operation: maxConcurrentOperations, subscription: maxConcurrentSubscriptions };
  /** Callers with running operations that would otherwise have been forgotten, and could then run as many again. */
  const busy = new Map<string, Known>();
  const callers = new LRUCache<string, Known>({
    max: MAX_QUIET,
    dispose(known, key, reason) {
      if (reason === "evict" && known.operation + known.subscription > 0) busy.set(key, known);
    },
  });

  function knownOf({ caller, clientAddress }: CallerKey): Known {
    const key = caller.subject ?? `anonymous ${addressBlock(clientAddress ?? "")}`;
    const known = callers.get(key) ?? busy.get(key);
    if (known) return known;
    const fresh = { key, allowance: burst, updatedAt: now(), operation: 0, subscription: 0 };
    callers.set(key, fresh);
    return fresh;
  }

  return {
    charge(key, isNew = false) {
      if (key.caller.kind === "service") return;
      const isWork = isNew && key.caller.kind === "anonymous";
      const cost = isWork ? Math.min(burst, Math.max(1, operationsPerMinute / NEW_TEXTS_PER_MINUTE)) : 1;
      const known = knownOf(key);
      const at = now();
      known.allowance = Math.min(burst, known.allowance + (at - known.updatedAt) * perMs);
      known.updatedAt = at;
      if (known.allowance < cost) {
        const retryAfterSeconds = Math.max(1, Math.ceil((cost - known.allowance) / perMs / 1_000));
        const max = Math.floor(operationsPerMinute / cost);
        const what = isWork
          ? `Too many new operations without a credential: ${max} of different texts a minute are allowed. Log in, or put what differs into variables, or try`
          : `Too many operations: ${max} a minute are allowed. Try`;
        throw new ToolyardError("RATE_LIMITED", `${what} again in ${retryAfterSeconds} s.`, {
          retryAfterSeconds,
          extensions: { limit: isWork ? "newOperationsPerMinute" : "operationsPerMinute", max },
        });
      }
      known.allowance -= cost;
    },
    enter(kind, key) {
      if (key.caller.kind === "service") return () => undefined;
      const known = knownOf(key);
      if (known[kind] >= most[kind]) {
        throw new ToolyardError(
          "RATE_LIMITED",
          `Too many ${kind}s run at once: ${known[kind]} run already, where at most ${most[kind]} may. End some first.`,
          {
            retryAfterSeconds: 1,
            extensions: { limit: `concurrent ${kind}s`, max: most[kind], found: known[kind] + 1 },
          },
        );
      }
      known[kind] += 1;
      let left = false;
      return () => {
        if (left) return;
        left = true;
        known[kind] -= 1;
        if (known.operation + known.subscription === 0) busy.delete(known.key);
      };
    },
  };
}
