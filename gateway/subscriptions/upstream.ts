import { setImmediate } from "node:timers/promises";
import { type ExecutionResult, type GraphQLError } from "graphql";
import { graphqlError } from "@toolyard/service-kit/errors/graphql-error.ts";
import type { LightAbort } from "../common/light-abort.ts";
import { orderOf, sequenceOf, type LogPosition } from "./log-position.ts";
import { weightOf } from "./result-weight.ts";

export type Results = AsyncGenerator<ExecutionResult, void, void>;
type Step = IteratorResult<ExecutionResult, void>;

/** How many results are taken before others have their turn: a replay would leave no time for anything else in this process. */
const pullsWithoutPause = 16;

export interface UpstreamLimits {
  /** How many results may wait for a reader; those of the one that is furthest hold the stream back. */
  maxQueued: number;
  /** How long more than that may wait: who has not taken half of it in this time is too slow. */
  graceMs: number;
  /** How many may wait for a reader at all while others read on. */
  maxBehind: number;
  /** The same two in bytes, by `weightOf`: whichever is reached first counts. */
  maxQueuedBytes: number;
  maxBehindBytes: number;
  /** How long and how many results are kept of a stream that is new, for others that begin a little later. */
  keptMs: number;
  maxKept: number;
  now: () => number;
}

/** What happens to a stream and its readers. */
interface UpstreamEvents {
  /** A reader has ended, in whatever way. `dropped`: results it was not given because it was too slow. */
  onReaderEnd(reader: Reader, dropped: number): void;
  /** Something came. */
  onResult(upstream: Upstream): void;
}

/** One who reads a stream at their own pace. */
export interface Reader {
  upstream: Upstream;
  /** Of the next result to take. */
  position: number;
  /** The sequence of the last result taken; the one it asked to begin after, before that. */
  lastSequence: string | null;
  /** Results up to this sequence are passed over. */
  skipTo: number | null;
  /** Whoever waits for the next result. */
  waiting: ((step: Step | Promise<never>) => void) | null;
  /** Since when more results wait than may. */
  fullSince: number | null;
  /** It was too slow: its next result says so, and is the last. */
  isTooSlow: boolean;
  hasEnded: boolean;
  /** Called when it has ended. */
  onEnd: (() => void) | null;
}

/** A stream of results that several readers read, from a buffer that all share. */
export interface Upstream {
  /** Equal for streams of the same. */
  readonly key: string;
  /** What log it reads and from where; null when it reads none. */
  readonly log: LogPosition | null;
  readonly readers: ReadonlySet<Reader>;
  /** The position of the next result to come. */
  readonly head: number;
  /** The sequence of the last result that came; of where it began before that. */
  readonly lastSequence: string | null;
  readonly hasEnded: boolean;
  /** Whether the next result is being waited for: nobody holds the stream back. */
  readonly isPulling: boolean;
  /** The position after a sequence; null when it is not there any more, or not yet. */
  positionAfter(sequence: string | null): number | null;
  /** Adds a reader, or one that came from another stream. */
  add(reader: Reader): void;
  /** Takes a reader away that goes on elsewhere. */
  remove(reader: Reader): void;
  next(reader: Reader): Promise<Step>;
  /** Ends a reader; the stream ends with the last of them. */
  end(reader: Reader): void;
  close(): void;
}

export interface UpstreamOptions {
  key: string;
  source: Results;
  controller: LightAbort;
  log: LogPosition | null;
  limits: UpstreamLimits;
  events: UpstreamEvents;
}

/** @param options.source Begun when the first reader wants something. It is read as fast as its fastest reader reads. */
export function createUpstream(options: UpstreamOptions): Upstream {
  const { key, source, controller, log, limits, events } = options;
  const { maxQueued, graceMs, maxBehind, maxQueuedBytes, maxBehindBytes, keptMs, maxKept, now } = limits;
  const readers = new Set<Reader>();
  /** Results that some reader has not taken, or may still begin with; the first has the position `base`. */
  const results: ExecutionResult[] = [];
  /** Of the same results, where they have one. */
  const sequences: (string | null)[] = [];
  /** What came up to and with each of the same results, in bytes; up to `base`, and in all. */
  const weights: number[] = [];
  let weightAtBase = 0;
  let weight = 0;
  let base = 0;
  let trimAt = 64;
  /** The positions of results by their sequences. */
  const places = log ? new Map<string, number>() : null;
  const keptUntil = now() + keptMs;
  let lastSequence = log?.after ?? null;
  let end: { error: unknown } | "complete" | null = null;
  let isPumping = false;
  let isPulling = false;
  let pulled = 0;
  let graceTimer: NodeJS.Timeout | undefined;

  const head = () => base + results.length;

  /** Bytes of the results from a position on. */
  const bytesFrom = (position: number) =>
    weight - (position === base ? weightAtBase : (weights[position - base - 1] ?? weight));

  /** Whether there is room for more between a position and the present. */
  const hasRoom = (position: number, share = 1) =>
    head() - position <= maxQueued * share && bytesFrom(position) <= maxQueuedBytes * share;

  /** Whether as much waits for the furthest reader as may. */
  function isHeldBack(): boolean {
    for (const { position } of readers) if (hasRoom(position)) return false;
    return true;
  }

  async function pump(): Promise<void> {
    isPumping = true;
    try {
      while (!end && !isHeldBack()) {
        isPulling = true;
        if (++pulled % pullsWithoutPause === 0) await setImmediate();
        const next = await source.next();
        isPulling = false;
        if (next.done) end = "complete";
        else push(next.value);
      }
    } catch (error) {
      end = { error };
    } finally {
      isPumping = isPulling = false;
    }
    if (end) for (const reader of readers) serve(reader);
  }

  function push(result: ExecutionResult): void {
    // Elsewhere a field of this name is no place to go on from.
    const sequence = log ? sequenceOf(result) : null;
    if (sequence !== null) places?.set(sequence, head());
    // Where a client did not select it nobody knows where the stream is; it is no longer where it began.
    lastSequence = sequence;
    results.push(result);
    sequences.push(sequence);
    weight += weightOf(result.data);
    weights.push(weight);
    for (const reader of readers) {
      if (reader.waiting) serve(reader);
      else if (!hasRoom(reader.position)) findFull(reader);
    }
    if (results.length >= trimAt) trim();
    events.onResult(upstream);
  }

  function findFull(reader: Reader): void {
    reader.fullSince ??= now();
    const isFarBehind = head() - reader.position > maxBehind || bytesFrom(reader.position) > maxBehindBytes;
    if (isFarBehind || now() - reader.fullSince >= graceMs) cut(reader);
    else watch(graceMs);
  }

  /** Looks after readers of which too much waits, also when nothing more comes. */
  function watch(afterMs: number): void {
    if (graceTimer) return;
    graceTimer = setTimeout(() => {
      graceTimer = undefined;
      let nextMs = Infinity;
      for (const reader of readers) {
        if (reader.fullSince === null) continue;
        const leftMs = reader.fullSince + graceMs - now();
        if (leftMs <= 0) cut(reader);
        else nextMs = Math.min(nextMs, leftMs);
      }
      if (nextMs !== Infinity) watch(nextMs);
    }, afterMs).unref();
  }

  function cut(reader: Reader): void {
    reader.isTooSlow = true;
    leave(reader, head() - reader.position);
    serve(reader);
  }

  /** Forgets what all have taken. */
  function trim(): void {
    let first = now() < keptUntil ? Math.max(base, head() - maxKept) : head();
    while (first < head() && bytesFrom(first) > maxQueuedBytes) first++;
    for (const { position } of readers) first = Math.min(first, position);
    results.splice(0, first - base);
    weightAtBase = weight - bytesFrom(first);
    weights.splice(0, first - base);
    for (const sequence of sequences.splice(0, first - base)) if (sequence !== null) places?.delete(sequence);
    base = first;
    trimAt = Math.max(64, 2 * results.length);
  }

  function skip(reader: Reader, to: number): void {
    for (; reader.position < head(); reader.position++) {
      if ((orderOf(sequences[reader.position - base] ?? null) ?? Infinity) <= to) continue;
      reader.skipTo = null;
      return;
    }
  }

  /** What a reader gets now; null when that is still to come. */
  function take(reader: Reader): Step | Promise<never> | null {
    if (reader.isTooSlow) {
      reader.isTooSlow = false;
      return { done: false, value: { errors: [tooSlow(reader.lastSequence)] } };
    }
    if (reader.hasEnded) return { done: true, value: undefined };
    if (reader.skipTo !== null) skip(reader, reader.skipTo);
    const index = reader.position - base;
    const result = results[index];
    if (result) {
      reader.position++;
      reader.lastSequence = sequences[index] ?? reader.lastSequence;
      if (reader.fullSince !== null && hasRoom(reader.position, 0.5)) reader.fullSince = null;
      return { done: false, value: result };
    }
    if (!end) return null;
    leave(reader, 0);
    return end === "complete" ? { done: true, value: undefined } : Promise.reject(end.error);
  }

  function serve(reader: Reader): void {
    const { waiting } = reader;
    if (!waiting) return;
    const step = take(reader);
    if (step === null) return;
    reader.waiting = null;
    waiting(step);
  }

  function leave(reader: Reader, dropped: number): void {
    if (reader.hasEnded) return;
    reader.hasEnded = true;
    readers.delete(reader);
    events.onReaderEnd(reader, dropped);
    reader.onEnd?.();
    if (readers.size === 0) upstream.close();
  }

  const upstream: Upstream = {
    key,
    log,
    readers,
    get head() {
      return head();
    },
    get lastSequence() {
      return lastSequence;
    },
    get hasEnded() {
      return end !== null;
    },
    get isPulling() {
      return isPulling;
    },
    positionAfter(sequence) {
      if (sequence === null) return null;
      if (sequence === lastSequence) return head();
      const place = places?.get(sequence);
      return place === undefined ? null : place + 1;
    },
    add(reader) {
      reader.upstream = upstream;
      readers.add(reader);
      if (!reader.waiting) return;
      serve(reader);
      if (!isPumping && !end) void pump();
    },
    remove: (reader) => void readers.delete(reader),
    next(reader) {
      const { waiting: earlier } = reader;
      if (earlier) {
        return new Promise((resolve) => {
          reader.waiting = (step) => {
            earlier(step);
            resolve(upstream.next(reader));
          };
        });
      }
      const step = take(reader);
      // Half of what may wait has been taken: time to ask for more.
      if (!isPumping && !end && !reader.hasEnded && hasRoom(reader.position, 0.5)) void pump();
      if (step !== null) return Promise.resolve(step);
      return new Promise((resolve) => {
        reader.waiting = resolve;
      });
    },
    end(reader) {
      reader.isTooSlow = false;
      leave(reader, 0);
      serve(reader);
    },
    close() {
      clearTimeout(graceTimer);
      graceTimer = undefined;
      controller.abort(null);
      // Nobody is there to be told.
      source.return().catch(() => undefined);
    },
  };
  return upstream;
}

function tooSlow(lastSequence: string | null): GraphQLError {
  return graphqlError(
    "SLOW_CONSUMER",
    lastSequence === null
      ? "This client takes events too slowly. Subscribe again."
      : `This client takes events too slowly. Subscribe again, after the sequence ${lastSequence}.`,
    { extensions: { ...(lastSequence !== null && { lastSequence }) } },
  );
}
