import { ToolyardError, type Caller } from "@toolyard/service-kit";
import { addressBlock } from "@toolyard/service-kit/http/hosts.ts";
import { createTokenBuckets, wholeSeconds, type CreateTokenBuckets } from "@toolyard/rate-limits";
import type { Quota } from "./quotas.ts";

/** Limits what one caller may do at a time. Services are trusted with more than people: they are not limited. */
export interface CallerLimits {
  /**
   * Counts one operation.
   * @param isNew Whether its text has to be parsed, validated and planned first: callers without a credential get few of these.
   * @throws ToolyardError RATE_LIMITED with `retryAfterSeconds`
   */
  charge(caller: CallerKey, isNew?: boolean): void;
  /**
   * Counts the fields at an operation's root that have limits of their own, each as often as it is there.
   * @throws ToolyardError RATE_LIMITED with `retryAfterSeconds`
   */
  chargeFields(caller: CallerKey, fields: Iterable<string>): void;
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
  /** Where it is there, the quotas that were counted against are added. */
  quotas?: Quota[];
}

export interface CallerLimitsOptions {
  /** Operations a minute, in the long run. */
  operationsPerMinute: number;
  /** How many may come at once after a quiet time; a quarter of a minute's share by default. */
  burst?: number;
  /** How often a minute fields of the graph's root may be asked for, by their names, whichever address or alias that goes by. */
  fieldsPerMinute?: Readonly<Record<string, number>>;
  maxConcurrentOperations: number;
  maxConcurrentSubscriptions: number;
  /** In memory unless given. */
  createBuckets?: CreateTokenBuckets;
  now?: () => number;
}

/** The caller who has been quiet the longest is forgotten; but with as many active within a minute, addresses are no bound. */
const MAX_QUIET = 20_000;

/** A new text takes the event loop some thirty times as long as a known one. */
const NEW_TEXTS_PER_MINUTE = 120;

/** For callers that are not limited. */
export const noCallerLimits: CallerLimits = {
  charge: () => undefined,
  chargeFields: () => undefined,
  enter: () => () => undefined,
};

export function createCallerLimits(options: CallerLimitsOptions): CallerLimits {
  const { operationsPerMinute, maxConcurrentOperations, maxConcurrentSubscriptions, now = Date.now } = options;
  const { createBuckets = createTokenBuckets } = options;
  const createRate = (name: string, perMinute: number, atOnce?: number) =>
    createRateOn(createBuckets, name, perMinute, atOnce);
  const operations = createRate("operations", operationsPerMinute, options.burst);
  const { burst } = operations;
  const fieldRates = new Map(
    Object.entries(options.fieldsPerMinute ?? {}).map(([name, perMinute]) => [name, createRate(name, perMinute)]),
  );
  const most = { operation: maxConcurrentOperations, subscription: maxConcurrentSubscriptions };
  /** Of callers with anything running. */
  const running = new Map<string, { operation: number; subscription: number }>();

  return {
    charge(key, isNew = false) {
      if (key.caller.kind === "service") return;
      const isWork = isNew && key.caller.kind === "anonymous";
      const cost = isWork ? Math.min(burst, Math.max(1, operationsPerMinute / NEW_TEXTS_PER_MINUTE)) : 1;
      const waitMs = operations.take(key, now(), cost);
      if (waitMs > 0) {
        const retryAfterSeconds = wholeSeconds(waitMs);
        const max = Math.floor(operationsPerMinute / cost);
        const what = isWork
          ? `Too many new operations without a credential: ${max} of different texts a minute are allowed. Log in, or put what differs into variables, or try`
          : `Too many operations: ${max} a minute are allowed. Try`;
        throw new ToolyardError("RATE_LIMITED", `${what} again in ${retryAfterSeconds} s.`, {
          retryAfterSeconds,
          extensions: { limit: isWork ? "newOperationsPerMinute" : "operationsPerMinute", max },
        });
      }
    },
    chargeFields(key, fields) {
      if (key.caller.kind === "service" || fieldRates.size === 0) return;
      const counts = new Map<string, number>();
      for (const name of fields) if (fieldRates.has(name)) counts.set(name, (counts.get(name) ?? 0) + 1);
      for (const [name, count] of counts) {
        const rate = fieldRates.get(name);
        const waitMs = rate?.take(key, now(), Math.min(rate.burst, count)) ?? 0;
        if (!rate || waitMs === 0) continue;
        const retryAfterSeconds = wholeSeconds(waitMs);
        throw new ToolyardError(
          "RATE_LIMITED",
          `Too many of "${name}": ${rate.perMinute} a minute are allowed. Try again in ${retryAfterSeconds} s.`,
          { retryAfterSeconds, extensions: { limit: `${name}PerMinute`, max: rate.perMinute } },
        );
      }
    },
    enter(kind, caller) {
      if (caller.caller.kind === "service") return () => undefined;
      const key = keyOf(caller);
      const known = running.get(key) ?? { operation: 0, subscription: 0 };
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
      running.set(key, known);
      let left = false;
      return () => {
        if (left) return;
        left = true;
        known[kind] -= 1;
        if (known.operation + known.subscription === 0) running.delete(key);
      };
    },
  };
}

function keyOf({ caller, clientAddress }: CallerKey): string {
  return caller.subject ?? `anonymous ${addressBlock(clientAddress ?? "")}`;
}

/** A rate for each caller, all of which is there after a quiet time. */
function createRateOn(createBuckets: CreateTokenBuckets, name: string, perMinute: number, atOnce = perMinute / 4) {
  const burst = Math.max(1, atOnce);
  const buckets = createBuckets({ name, burst, perMinute, maxKeys: MAX_QUIET });
  const secondsFor = (tokens: number) => Math.ceil((tokens * 60) / perMinute);
  return {
    perMinute,
    burst,
    /** Takes so many, if they are there. @returns how long it takes until they are, in milliseconds; 0: they were */
    take(caller: CallerKey, at: number, tokens: number): number {
      const key = keyOf(caller);
      const waitMs = buckets.take(key, at, tokens);
      const left = buckets.left(key, at);
      caller.quotas?.push({
        name,
        limit: Math.floor(burst),
        windowSeconds: secondsFor(burst),
        remaining: waitMs > 0 ? 0 : Math.floor(left),
        resetSeconds: secondsFor(burst - left),
      });
      return waitMs;
    },
  };
}
