import { setImmediate } from "node:timers/promises";
import { type ExecutionResult, type GraphQLError } from "graphql";
import { graphqlError } from "@toolyard/service-kit/errors/graphql-error.ts";
import type { LightAbort } from "@toolyard/service-kit/process/light-abort.ts";
import { orderOf, sequenceOf, type LogPosition } from "./log-position.ts";
import { weightOf } from "./result-weight.ts";

export type Results = AsyncGenerator<ExecutionResult, void, void>;
type Step = IteratorResult<ExecutionResult, void>;

/** How many results are taken before others have their turn: a long replay would otherwise hold the event loop. */
const PULLS_WITHOUT_PAUSE = 16;

export interface UpstreamLimits {
  /** How many results may wait for a reader; the fastest reader's backlog holds the stream back. */
  maxQueued: number;
  /** How long more than that may wait: a reader that has not taken half of it in this time is too slow. */
  graceMs: number;
  /** How many results may wait for a reader in all while others read on. */
  maxBehind: number;
  /** The same two in bytes, by `weightOf`: whichever is reached first counts. */
  maxQueuedBytes: number;
  maxBehindBytes: number;
  /** How long and how many results of a new stream are kept for readers that begin a little later. */
  keptMs: number;
  maxKept: number;
  now: () => number;
}

/** Events of a stream and its readers. */
interface UpstreamEvents {
  /** A reader has ended, for any reason. `dropped`: results it was not given because it was too slow. */
  onReaderEnd(reader: Reader, dropped: number): void;
  /** A result came. */
  onResult(upstream: Upstream): void;
}

/** A reader of a stream, at its own pace. */
export interface Reader {
  upstream: Upstream;
  /** The position of the next result to take. */
  position: number;
  /** The sequence of the last result taken; before that, the one after which it asked to begin. */
  lastSequence: string | null;
  /** Results up to this sequence are skipped. */
  skipTo: number | null;
  /** The call that waits for the next result. */
  waiting: ((step: Step | Promise<never>) => void) | null;
  /** Since when more results wait than are allowed. */
  fullSince: number | null;
  /** It was too slow: its next result reports that, and is the last. */
  isTooSlow: boolean;
  hasEnded: boolean;
  /** Called when it has ended. */
  onEnd: (() => void) | null;
}

/** A stream of results that several readers read, from a buffer that all share. */
export interface Upstream {
  /** Equal for streams of equal requests. */
  readonly key: string;
  /** The log that it reads, and from where; null when it reads none. */
  readonly log: LogPosition | null;
  readonly readers: ReadonlySet<Reader>;
  /** The position of the next result to come. */
  readonly head: number;
  /** The sequence of the last result that came; before that, the one it began after. */
  readonly lastSequence: string | null;
  readonly hasEnded: boolean;
  /** Whether the next result is awaited: no reader holds the stream back. */
  readonly isPulling: boolean;
  /** The position after a sequence; null when it is no longer kept, or not there yet. */
  positionAfter(sequence: string | null): number | null;
  /** Adds a new reader, or one that moved here from another stream. */
  add(reader: Reader): void;
  /** Removes a reader that goes on elsewhere. */
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

/** @param options.source Started at the first read. It is read as fast as the fastest reader reads. */
export function createUpstream(options: UpstreamOptions): Upstream {
  const { key, source, controller, log, limits, events } = options;
  const { maxQueued, graceMs, maxBehind, maxQueuedBytes, maxBehindBytes, keptMs, maxKept, now } = limits;
  const readers = new Set<Reader>();
  /** Results that some reader has not taken, or may still begin with; the first has the position `base`. */
  const results: ExecutionResult[] = [];
  /** The sequences of the same results, where they have one. */
  const sequences: (string | null)[] = [];
  /** The bytes that came up to and including each of the same results; up to `base`, and in all. */
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

  /** Whether there is room for more results between a position and the present. */
  const hasRoom = (position: number, share = 1) =>
    head() - position <= maxQueued * share && bytesFrom(position) <= maxQueuedBytes * share;

  /** Whether the fastest reader's backlog has reached the limit. */
  function isHeldBack(): boolean {
    for (const { position } of readers) if (hasRoom(position)) return false;
    return true;
  }

  async function pump(): Promise<void> {
    isPumping = true;
    try {
      while (!end && !isHeldBack()) {
        isPulling = true;
        if (++pulled % PULLS_WITHOUT_PAUSE === 0) await setImmediate();
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
    // In other results a field of this name is no place to go on from.
    const sequence = log ? sequenceOf(result) : null;
    if (sequence !== null) places?.set(sequence, head());
    // Where a client did not select it, the stream's position is unknown; it is no longer where it began.
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

  /** Checks readers with too long a backlog, also when no more results come. */
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

  /** Forgets results that all readers have taken. */
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

  /** The next result for a reader; null when it has not come yet. */
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
      // Half of the allowed backlog has been taken: time to ask for more.
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
      // Nobody is left to be told.
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
