import { createHash } from "node:crypto";
import { callerKey } from "@toolyard/service-kit";
import type { ExecutionResult } from "graphql";
import type { OperationRequest } from "../execution/executor.ts";
import { createLightAbort } from "@toolyard/service-kit/process/light-abort.ts";
import type { OperationContext } from "../execution/clients/subgraph-client.ts";
import { orderOf, type LogPosition } from "./log-position.ts";
import { createUpstream, type Reader, type Results, type Upstream, type UpstreamLimits } from "./upstream.ts";

/** How many results a new reader waits for slower upstreams to reach its starting position. */
const MAX_AHEAD = 2_000;
/** How often their progress is checked. */
const NEARER_MS = 500;

export interface SharedUpstreamsOptions extends Partial<UpstreamLimits> {
  /** Opens a stream of its own, with the signal of the given request. */
  open(request: OperationRequest): Results;
  /** Where the subscription begins in a log; null when it does not read one. */
  positionOf(request: OperationRequest): LogPosition | null;
  /** All of a request's context that results may depend on, as JSON; the caller and their headers unless given. */
  identityOf?(context: OperationContext): unknown;
  /** False: each subscription has a stream of its own. */
  isSharing?: boolean;
}

interface SubscribeOptions {
  /** Called once, when it has ended. */
  onEnd?: (() => void) | undefined;
  /** The result that this reader is given in place of one that has errors. */
  present?: ((result: ExecutionResult) => ExecutionResult) | undefined;
}

/** One stream of results for all equal requests of the same caller. */
export interface SharedUpstreams {
  /**
   * Like `open`, but shared by all equal requests. A result is one object for all readers: do not change it. Results wait in a
   * shared buffer; a reader that lets too many wait for too long gets SLOW_CONSUMER with the last sequence taken.
   */
  subscribe(request: OperationRequest, options?: SubscribeOptions): Results;
  /** Streams open now. */
  readonly openUpstreams: number;
  /** Their readers. */
  readonly activeReaders: number;
  /** Results that were dropped because their readers were too slow, since the start. */
  readonly droppedResults: number;
}

/**
 * Lets subscriptions share an upstream where sharing cannot be noticed: the same operation, variables and caller, and
 * - the upstream has yielded nothing yet; or
 * - it reads a log (`after`, `sequence`) and is at the place where the new reader wants to begin, or comes to it soon: live, for one
 *   that begins now, or right after the sequence that it names. Otherwise a reader that replays has its own upstream until it has
 *   caught up.
 *
 * A stream that begins with a snapshot is therefore never joined late. The upstream is read as fast as its fastest reader reads.
 */
export function createSharedUpstreams(options: SharedUpstreamsOptions): SharedUpstreams {
  const { open, positionOf, identityOf = callerAndHeaders, isSharing = true } = options;
  const limits: UpstreamLimits = {
    maxQueued: 1_000,
    graceMs: 10_000,
    maxBehind: 10_000,
    maxQueuedBytes: 4 * 1_048_576,
    maxBehindBytes: 32 * 1_048_576,
    keptMs: isSharing ? 10_000 : 0,
    maxKept: 1_000,
    now: Date.now,
    ...options,
  };
  /** By key. Upstreams of one key are at different places of a log, until those behind have caught up with those ahead. */
  const upstreams = new Map<string, Upstream[]>();
  let openUpstreams = 0;
  let activeReaders = 0;
  let droppedResults = 0;

  /** Where a new reader would begin; null when it needs an upstream of its own. */
  function joinAt(upstream: Upstream, log: LogPosition | null): number | null {
    if (upstream.hasEnded) return null;
    if (upstream.head === 0 && upstream.log?.after === log?.after) return 0;
    if (!log) return null;
    if (log.after !== null) return upstream.positionAfter(log.after) ?? placeAhead(upstream, log.after);
    // An upstream that nobody reads to the end is behind the present.
    return isLive(upstream) && upstream.isPulling ? upstream.head : null;
  }

  /** Where to wait for a sequence that comes soon: a client that connects again after a restart may have read less than others. */
  function placeAhead(upstream: Upstream, after: string): number | null {
    const wanted = orderOf(after);
    const last = orderOf(upstream.lastSequence);
    return wanted !== null && last !== null && last < wanted && wanted - last <= MAX_AHEAD ? upstream.head : null;
  }

  function place(key: string, log: LogPosition | null): { upstream: Upstream; position: number } | null {
    for (const upstream of upstreams.get(key) ?? []) {
      const position = joinAt(upstream, log);
      if (position !== null) return { upstream, position };
    }
    return null;
  }

  function start(key: string, request: OperationRequest, log: LogPosition | null): Upstream {
    const controller = createLightAbort();
    const upstream = createUpstream({
      key,
      source: open({ ...request, signal: controller.signal }),
      controller,
      log,
      limits,
      events: { onReaderEnd, onResult },
    });
    openUpstreams++;
    if (isSharing) upstreams.set(key, [...(upstreams.get(key) ?? []), upstream]);
    return upstream;
  }

  function onReaderEnd(reader: Reader, dropped: number): void {
    activeReaders--;
    droppedResults += dropped;
    if (reader.upstream.readers.size === 0) forget(reader.upstream);
  }

  function forget(upstream: Upstream): void {
    const { key } = upstream;
    openUpstreams--;
    const others = (upstreams.get(key) ?? []).filter((other) => other !== upstream);
    if (others.length > 0) upstreams.set(key, others);
    else upstreams.delete(key);
  }

  /** Closes upstreams that have caught up with another: their readers go on there. */
  function onResult({ log, key }: Upstream): void {
    const all = log ? (upstreams.get(key) ?? []) : [];
    if (all.length < 2) return;
    for (const [index, behind] of all.entries()) {
      const ahead = all.find(
        (other, at) =>
          other !== behind &&
          other.readers.size > 0 &&
          !other.hasEnded &&
          other.positionAfter(behind.lastSequence) !== null &&
          (other.lastSequence !== behind.lastSequence || at < index),
      );
      if (ahead && !behind.hasEnded && behind.readers.size > 0) move(behind, ahead);
    }
  }

  function move(from: Upstream, to: Upstream): void {
    for (const reader of from.readers) {
      const position = to.positionAfter(reader.lastSequence);
      // It still has a result to take that the other no longer keeps; it moves later.
      if (position === null) continue;
      from.remove(reader);
      reader.position = position;
      to.add(reader);
    }
    closeUnread(from);
  }

  function closeUnread(upstream: Upstream): void {
    if (upstream.readers.size > 0) return;
    forget(upstream);
    upstream.close();
  }

  /**
   * Gives a reader that waits for others to reach its starting position an upstream of its own when they do not: nobody knows
   * whether the sequence that it names exists.
   */
  function watchApproach(reader: Reader, startOwn: () => Upstream): void {
    const { upstream } = reader;
    const { lastSequence } = upstream;
    setTimeout(() => {
      if (reader.hasEnded || reader.skipTo === null || reader.upstream !== upstream) return;
      if (upstream.lastSequence !== lastSequence) {
        watchApproach(reader, startOwn);
        return;
      }
      upstream.remove(reader);
      reader.position = 0;
      startOwn().add(reader);
      closeUnread(upstream);
    }, NEARER_MS).unref();
  }

  return {
    subscribe(request, { onEnd, present } = {}) {
      const log = positionOf(request);
      const key = isSharing ? keyOf(request, log, identityOf) : "";
      const found = isSharing ? place(key, log) : null;
      const upstream = found?.upstream ?? start(key, request, log);
      const reader: Reader = {
        upstream,
        position: found?.position ?? 0,
        lastSequence: log?.after ?? null,
        skipTo: orderOf(log?.after ?? null),
        waiting: null,
        fullSince: null,
        isTooSlow: false,
        hasEnded: false,
        onEnd: onEnd ?? null,
      };
      activeReaders++;
      upstream.add(reader);
      if (log && log.after !== null && found && upstream.positionAfter(log.after) === null)
        watchApproach(reader, () => start(key, request, log));
      const { signal } = request;
      const end = () => reader.upstream.end(reader);
      if (signal) {
        reader.onEnd = () => {
          signal.removeEventListener("abort", end);
          onEnd?.();
        };
        signal.addEventListener("abort", end, { once: true });
        if (signal.aborted) end();
      }
      return createResults(reader, end, present);
    },
    get openUpstreams() {
      return openUpstreams;
    },
    get activeReaders() {
      return activeReaders;
    },
    get droppedResults() {
      return droppedResults;
    },
  };
}

/** A reader's results. Written by hand, since a generator that waits for an event would hear of `return` only after it. */
function createResults(reader: Reader, end: () => void, present: SubscribeOptions["present"]): Results {
  const next = present
    ? async () => {
        const step = await reader.upstream.next(reader);
        return step.done || !step.value.errors ? step : { done: false as const, value: present(step.value) };
      }
    : () => reader.upstream.next(reader);
  return {
    next,
    async return() {
      end();
      return { done: true, value: undefined };
    },
    async throw(error: unknown) {
      end();
      throw error;
    },
    [Symbol.asyncIterator]() {
      return this;
    },
    async [Symbol.asyncDispose]() {
      end();
    },
  };
}

/** Whether it began with events from then on, rather than with a replay. */
function isLive({ log }: Upstream): boolean {
  return log?.after === null;
}

/** Equal for requests whose results cannot be told apart, except for their position in a log. */
function keyOf(
  { query, operationName, variables, context }: OperationRequest,
  log: LogPosition | null,
  identityOf: (context: OperationContext) => unknown,
): string {
  const others = Object.entries(variables ?? {})
    .filter(([name]) => name !== log?.variable)
    .sort(([one], [other]) => (one < other ? -1 : 1));
  const told = JSON.stringify([query, operationName ?? null, others, identityOf(context)]);
  // There may be as many keys as callers, and queries may be long.
  return createHash("sha256").update(told).digest("base64");
}

function callerAndHeaders({ caller, headers, scopes, policies }: OperationContext): unknown {
  return [callerKey(caller), scopes, policies, headers];
}
