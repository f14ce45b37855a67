import { setImmediate } from "node:timers/promises";
import { GraphQLError, type ExecutionResult } from "graphql";
import type { GraphRequest } from "../execution/executor.ts";
import { sequenceOf } from "./bounded-stream.ts";
import type { LogPosition } from "./log-position.ts";

type Results = AsyncGenerator<ExecutionResult, void, void>;

/** How many results are taken before others have their turn. */
const pullsWithoutPause = 16;

export interface SharedUpstreamsOptions {
  /** Opens a stream of its own, with the signal of the request it is given. */
  open(request: GraphRequest): Results;
  /** Where the subscription begins in a log; null when it does not read one. */
  positionOf(request: GraphRequest): LogPosition | null;
  /** How many results the slowest reader of a stream may be behind its fastest. */
  maxBehind?: number;
  /** How long and how many results are kept of an upstream that is new, for others that begin a little later. */
  keptMs?: number;
  maxKept?: number;
  now?: () => number;
}

/** One stream of results for all who ask the same as the same caller. */
export interface SharedUpstreams {
  /**
   * Like `open`, but the same for all who ask for it. A result is one object for all of them: do not change it. Whoever reads much
   * more slowly than the others gets SLOW_CONSUMER with the last sequence taken. `onEnd` is called once, when it has ended.
   */
  subscribe(request: GraphRequest, onEnd?: () => void): Results;
  /** Streams open now. */
  readonly openUpstreams: number;
}

interface Reader {
  upstream: Upstream;
  /** Of the next result to take. */
  position: number;
  lastSequence: string | null;
  /** Ends a wait for more. */
  wake: (() => void) | null;
  hasEnded: boolean;
}

interface Upstream {
  key: string;
  source: Results;
  controller: AbortController;
  /** What log it reads and from where; null when it reads none. */
  log: LogPosition | null;
  /** Results that some reader has not taken, or may still begin with; the first has the position `base`. */
  results: ExecutionResult[];
  base: number;
  trimAt: number;
  /** The positions of results by their sequences. */
  places: Map<string, number>;
  /** Until when results are kept for others. */
  keptUntil: number;
  lastSequence: string | null;
  readers: Set<Reader>;
  isPulling: boolean;
  pulled: number;
  end: { error: unknown } | "complete" | null;
}

/**
 * Lets subscriptions share their upstream where nobody can tell: the same operation, variables and caller, and
 * - nothing has come of the upstream yet; or
 * - it reads a log (`after`, `sequence`) and is at the place where the new reader wants to begin: live, for one that begins now, or
 *   right after the sequence that it names. One that replays has an upstream of its own until it has caught up.
 *
 * What begins with a snapshot is therefore never joined late. The upstream is read as fast as its fastest reader reads.
 */
export function createSharedUpstreams(options: SharedUpstreamsOptions): SharedUpstreams {
  const { open, positionOf, maxBehind = 10_000, keptMs = 10_000, maxKept = 1_000, now = Date.now } = options;
  /** By key. Several of one key are at different places of a log, until those behind have caught up with those ahead. */
  const upstreams = new Map<string, Upstream[]>();

  const headOf = ({ base, results }: Upstream) => base + results.length;

  /** The position after a sequence; null when the upstream is not there any more, or not yet. */
  function positionAfter(upstream: Upstream, sequence: string | null): number | null {
    if (sequence === null) return null;
    if (sequence === upstream.lastSequence) return headOf(upstream);
    const place = upstream.places.get(sequence);
    return place === undefined ? null : place + 1;
  }

  /** Where a new reader would begin; null when it needs an upstream of its own. */
  function joinAt(upstream: Upstream, log: LogPosition | null): number | null {
    if (upstream.end) return null;
    if (headOf(upstream) === 0 && upstream.log?.after === log?.after) return 0;
    if (!log) return null;
    if (log.after !== null) return positionAfter(upstream, log.after);
    // One that nobody reads to the end is behind the present.
    return isLive(upstream) && upstream.isPulling ? headOf(upstream) : null;
  }

  function place(key: string, log: LogPosition | null): { upstream: Upstream; position: number } | null {
    for (const upstream of upstreams.get(key) ?? []) {
      const position = joinAt(upstream, log);
      if (position !== null) return { upstream, position };
    }
    return null;
  }

  function start(key: string, request: GraphRequest, log: LogPosition | null): Upstream {
    const controller = new AbortController();
    const upstream: Upstream = {
      key,
      source: open({ ...request, signal: controller.signal }),
      controller,
      log,
      results: [],
      base: 0,
      trimAt: 64,
      places: new Map(),
      keptUntil: now() + keptMs,
      lastSequence: log?.after ?? null,
      readers: new Set(),
      isPulling: false,
      pulled: 0,
      end: null,
    };
    upstreams.set(key, [...(upstreams.get(key) ?? []), upstream]);
    return upstream;
  }

  function close(upstream: Upstream): void {
    const others = (upstreams.get(upstream.key) ?? []).filter((other) => other !== upstream);
    if (others.length > 0) upstreams.set(upstream.key, others);
    else upstreams.delete(upstream.key);
    upstream.controller.abort();
    // Nobody is there to be told.
    upstream.source.return().catch(() => undefined);
  }

  function wakeAll({ readers }: Upstream): void {
    for (const reader of readers) wake(reader);
  }

  /** Takes one result. Called by whoever has read all; the others find it when they come. */
  async function pull(upstream: Upstream): Promise<void> {
    upstream.isPulling = true;
    try {
      // A replay that is read as fast as it comes would leave no time for anything else in this process.
      if (++upstream.pulled % pullsWithoutPause === 0) await setImmediate();
      const next = await upstream.source.next();
      if (next.done) upstream.end = "complete";
      else {
        const sequence = upstream.log && sequenceOf(next.value);
        if (sequence !== null) {
          upstream.places.set(sequence, headOf(upstream));
          upstream.lastSequence = sequence;
        }
        upstream.results.push(next.value);
        if (upstream.results.length >= upstream.trimAt) trim(upstream);
      }
    } catch (error) {
      upstream.end = { error };
    } finally {
      upstream.isPulling = false;
      wakeAll(upstream);
      if (upstream.log) joinUp(upstream.key);
    }
  }

  /** Forgets what all have taken, and what is too far behind. */
  function trim(upstream: Upstream): void {
    const head = headOf(upstream);
    let first = now() < upstream.keptUntil ? Math.max(upstream.base, head - maxKept) : head;
    for (const { position } of upstream.readers) first = Math.min(first, position);
    first = Math.max(first, head - maxBehind);
    for (const result of upstream.results.splice(0, first - upstream.base)) {
      const sequence = upstream.log && sequenceOf(result);
      if (sequence !== null) upstream.places.delete(sequence);
    }
    upstream.base = first;
    upstream.trimAt = Math.min(Math.max(64, 2 * upstream.results.length), maxBehind + 1);
  }

  /** Closes upstreams that have come to where another one has been: their readers go on there. */
  function joinUp(key: string): void {
    const all = upstreams.get(key) ?? [];
    if (all.length < 2) return;
    for (const [index, behind] of all.entries()) {
      const ahead = all.find(
        (other, at) =>
          other !== behind &&
          other.readers.size > 0 &&
          !other.end &&
          positionAfter(other, behind.lastSequence) !== null &&
          (other.lastSequence !== behind.lastSequence || at < index),
      );
      if (ahead && !behind.end && behind.readers.size > 0) move(behind, ahead);
    }
  }

  function move(from: Upstream, to: Upstream): void {
    for (const reader of from.readers) {
      const position = positionAfter(to, reader.lastSequence);
      // It has something to take that is not there any more; it comes along later.
      if (position === null) continue;
      from.readers.delete(reader);
      to.readers.add(reader);
      reader.upstream = to;
      reader.position = position;
      wake(reader);
    }
    if (from.readers.size === 0) close(from);
  }

  function read(key: string, request: GraphRequest, log: LogPosition | null, onEnd?: () => void): Results {
    const found = place(key, log);
    const upstream = found?.upstream ?? start(key, request, log);
    const reader: Reader = {
      upstream,
      position: found?.position ?? 0,
      lastSequence: log?.after ?? null,
      wake: null,
      hasEnded: false,
    };
    upstream.readers.add(reader);

    function end(): void {
      if (reader.hasEnded) return;
      reader.hasEnded = true;
      request.signal?.removeEventListener("abort", end);
      reader.upstream.readers.delete(reader);
      if (reader.upstream.readers.size === 0) close(reader.upstream);
      wake(reader);
      onEnd?.();
    }
    if (request.signal?.aborted) end();
    else request.signal?.addEventListener("abort", end, { once: true });

    async function next(): Promise<IteratorResult<ExecutionResult, void>> {
      while (!reader.hasEnded) {
        const { upstream: current } = reader;
        if (reader.position < current.base) {
          const { lastSequence } = reader;
          end();
          return { done: false, value: { errors: [tooSlow(lastSequence)] } };
        }
        const result = current.results[reader.position - current.base];
        if (result) {
          reader.position++;
          reader.lastSequence = sequenceOf(result) ?? reader.lastSequence;
          return { done: false, value: result };
        }
        if (current.end) {
          end();
          if (current.end === "complete") break;
          throw current.end.error;
        }
        if (!current.isPulling) void pull(current);
        await new Promise<void>((resolve) => {
          const others = reader.wake;
          reader.wake = () => {
            others?.();
            resolve();
          };
        });
      }
      return { done: true, value: undefined };
    }

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

  return {
    subscribe(request, onEnd) {
      const log = positionOf(request);
      return read(keyOf(request, log), request, log, onEnd);
    },
    get openUpstreams() {
      let open = 0;
      for (const { length } of upstreams.values()) open += length;
      return open;
    },
  };
}

/** Whether it began with what happened from then on, rather than with a replay. */
function isLive({ log }: Upstream): boolean {
  return log?.after === null;
}

function wake(reader: Reader): void {
  const resume = reader.wake;
  reader.wake = null;
  resume?.();
}

/** Equal for requests of which nobody can tell the results apart, but for where in a log they begin. */
function keyOf({ query, operationName, variables, context }: GraphRequest, log: LogPosition | null): string {
  const { caller, headers, scopes: granted, policies } = context;
  const { kind, subject, role, scopes, servicePermissions, credential, expiresAt } = caller;
  const others = Object.entries(variables ?? {})
    .filter(([name]) => name !== log?.variable)
    .sort(([one], [other]) => (one < other ? -1 : 1));
  const who = [kind, subject, role, scopes, servicePermissions, credential, expiresAt];
  return JSON.stringify([query, operationName ?? null, others, who, granted, policies, headers]);
}

function tooSlow(lastSequence: string | null): GraphQLError {
  return new GraphQLError(
    lastSequence === null
      ? "This client takes events too slowly. Subscribe again."
      : `This client takes events too slowly. Subscribe again, after the sequence ${lastSequence}.`,
    { extensions: { code: "SLOW_CONSUMER", lastSequence } },
  );
}
