import type { ServerResponse } from "node:http";

import { type EventKeeper, type Exchange, resumeExchange } from "../protocol/exchange.ts";

/**
 * The events of one session's streams, kept for a while: a client whose connection broke opens a stream with `Last-Event-ID` and gets what
 * it missed ("Resumability and Redelivery" of 2025-03-26 to 2025-11-25). An answer in plain JSON has no events and costs nothing here.
 */
export interface Replay extends EventKeeper {
  /**
   * Goes on with a stream after the event that its client saw last. "new": it was one of messages that belong to no request, and nothing
   * of it is kept, so a new one is as good. "gone": the answer that its client waits for is not kept, or never was.
   */
  resume(lastEventId: string, response: ServerResponse): Exchange | "new" | "gone";
  /** Forgets events from before a time, in epoch ms. */
  sweep(before: number): void;
  clear(): void;
}

/** Where the sessions of one bridge keep their events, and how much they may keep together. */
export interface ReplayMemory {
  /** For one session. @param takesEmpty Whether its client takes events without data, as from 2025-11-25 on. */
  create(takesEmpty: () => boolean): Replay;
}

interface Kept {
  stream: number;
  number: number;
  json: string;
  at: number;
}

/** Of one session, whose newest event is kept however long it is. */
const MAX_EVENTS = 1_024;
const MAX_CHARS = 1024 * 1024;
/** Of all sessions of a process together, which may be full of streams that nobody resumes. */
const MAX_CHARS_IN_ALL = 32 * 1024 * 1024;
const EVENT_ID = /^([cg])(\d{1,9})-(\d{1,9})$/;

export function createReplayMemory({ now }: { now: () => number }): ReplayMemory {
  const sizes = new Map<object, { chars: number; drop: () => void }>();
  let charsInAll = 0;

  function makeRoom(): void {
    while (charsInAll > MAX_CHARS_IN_ALL) {
      let largest: { chars: number; drop: () => void } | null = null;
      for (const size of sizes.values()) if (largest === null || size.chars > largest.chars) largest = size;
      largest?.drop();
    }
  }

  return {
    create(takesEmpty) {
      let events: Kept[] = [];
      const streams = new Map<number, { exchange: Exchange; count: number; kept: number }>();
      const numbers = new WeakMap<Exchange, number>();
      const size = { chars: 0, drop: () => drop(1) };
      let streamCount = 0;

      function drop(count: number): void {
        for (const { stream, json } of events.splice(0, count)) {
          size.chars -= json.length;
          charsInAll -= json.length;
          const from = streams.get(stream);
          if (from === undefined) continue;
          from.kept -= 1;
          if (from.kept === 0 && from.exchange.ended) streams.delete(stream);
        }
        if (events.length === 0) sizes.delete(size);
      }

      const idOf = (exchange: Exchange, stream: number, number: number): string =>
        `${exchange.outstanding === Number.POSITIVE_INFINITY ? "g" : "c"}${stream}-${number}`;

      return {
        begin(exchange) {
          streamCount += 1;
          numbers.set(exchange, streamCount);
          streams.set(streamCount, { exchange, count: 0, kept: 0 });
          return takesEmpty() ? idOf(exchange, streamCount, 0) : null;
        },
        add(exchange, json) {
          const stream = numbers.get(exchange) ?? 0;
          const to = streams.get(stream);
          if (to === undefined) return "";
          to.count += 1;
          to.kept += 1;
          events.push({ stream, number: to.count, json, at: now() });
          size.chars += json.length;
          charsInAll += json.length;
          sizes.set(size, size);
          while (events.length > MAX_EVENTS || (size.chars > MAX_CHARS && events.length > 1)) drop(1);
          makeRoom();
          return idOf(exchange, stream, to.count);
        },
        resume(lastEventId, response) {
          const [, kind, stream, number] = EVENT_ID.exec(lastEventId) ?? [];
          const found = streams.get(Number(stream));
          if (found === undefined) return kind === "g" ? "new" : "gone";
          const missed = events.filter((event) => event.stream === Number(stream) && event.number > Number(number));
          resumeExchange(
            found.exchange,
            response,
            missed.map((event) => ({ id: idOf(found.exchange, event.stream, event.number), json: event.json })),
          );
          return found.exchange;
        },
        sweep(before) {
          const fresh = events.findIndex(({ at }) => at >= before);
          if (fresh !== 0) drop(fresh === -1 ? events.length : fresh);
          for (const [stream, { exchange, kept }] of streams) {
            const isLeft = exchange.outstanding === Number.POSITIVE_INFINITY && exchange.response.destroyed;
            if (kept === 0 && (exchange.ended || isLeft)) streams.delete(stream);
          }
        },
        clear() {
          drop(events.length);
          events = [];
          streams.clear();
        },
      };
    },
  };
}
