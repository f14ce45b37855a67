import { ToolyardError, type Caller } from "@toolyard/service-kit";
import { addressBlock } from "@toolyard/service-kit/hosts.ts";

/** What one caller may do at a time. Services are trusted with more than people: they are not limited. */
export interface CallerLimits {
  /** Counts one operation. @throws ToolyardError RATE_LIMITED with `retryAfterSeconds` */
  charge(caller: CallerKey): void;
  /**
   * Counts one that runs. Call what it returns when it has ended.
   * @throws ToolyardError RATE_LIMITED when as many run as may
   */
  enter(kind: "operation" | "subscription", caller: CallerKey): () => void;
}

export interface CallerKey {
  caller: Pick<Caller, "kind" | "subject">;
  /** Tells callers without a credential apart. */
  clientAddress?: string | undefined;
}

export interface CallerLimitsOptions {
  /** Operations a minute, in the long run. */
  operationsPerMinute: number;
  /** How many may come at once after a quiet time; a quarter of a minute's when left out. */
  burst?: number;
  maxConcurrentOperations: number;
  maxConcurrentSubscriptions: number;
  now?: () => number;
}

interface Known {
  /** Operations that may come now. */
  allowance: number;
  updatedAt: number;
  operation: number;
  subscription: number;
}

/** Callers that did nothing for so long are forgotten; their allowance is whole again by then. */
const FORGET_AFTER_MS = 60_000;

/** Where nothing of a caller is counted. */
export const noCallerLimits: CallerLimits = { charge: () => undefined, enter: () => () => undefined };

export function createCallerLimits(options: CallerLimitsOptions): CallerLimits {
  const { operationsPerMinute, maxConcurrentOperations, maxConcurrentSubscriptions, now = Date.now } = options;
  const perMs = operationsPerMinute / 60_000;
  const burst = Math.max(1, options.burst ?? operationsPerMinute / 4);
  const most = { operation: maxConcurrentOperations, subscription: maxConcurrentSubscriptions };
  const callers = new Map<string, Known>();
  let sweptAt = now();

  function forget(at: number): void {
    sweptAt = at;
    for (const [key, { updatedAt, operation, subscription }] of callers) {
      if (at - updatedAt > FORGET_AFTER_MS && operation + subscription === 0) callers.delete(key);
    }
  }

  function knownOf({ caller, clientAddress }: CallerKey): Known {
    const at = now();
    if (at - sweptAt > FORGET_AFTER_MS) forget(at);
    const key = caller.subject ?? `anonymous ${addressBlock(clientAddress ?? "")}`;
    const known = callers.get(key);
    if (known) return known;
    const fresh = { allowance: burst, updatedAt: at, operation: 0, subscription: 0 };
    callers.set(key, fresh);
    return fresh;
  }

  return {
    charge(key) {
      if (key.caller.kind === "service") return;
      const known = knownOf(key);
      const at = now();
      known.allowance = Math.min(burst, known.allowance + (at - known.updatedAt) * perMs);
      known.updatedAt = at;
      if (known.allowance < 1) {
        const retryAfterSeconds = Math.max(1, Math.ceil((1 - known.allowance) / perMs / 1_000));
        throw new ToolyardError(
          "RATE_LIMITED",
          `Too many operations: ${operationsPerMinute} a minute are allowed. Try again in ${retryAfterSeconds} s.`,
          { retryAfterSeconds, extensions: { limit: "operationsPerMinute", max: operationsPerMinute } },
        );
      }
      known.allowance -= 1;
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
        known.updatedAt = now();
      };
    },
  };
}
