import type { Caller } from "@toolyard/service-kit";
import type { GraphQLFormattedError } from "graphql";
import { createStaggeredInterval } from "@toolyard/service-kit/process/staggered-interval.ts";

/** Why the gateway ends a stream that the client still wants. */
export interface StreamEnd {
  /** UNAUTHENTICATED when the credential expired or was revoked; GOING_AWAY when the gateway stops: connect again. */
  code: "UNAUTHENTICATED" | "GOING_AWAY";
  message: string;
}

/** A connection or a stream of one caller, as the registry sees it. */
interface OpenStream {
  /** Called at most once. The owner of the stream releases its resources. */
  end(why: StreamEnd): void;
  /** Called at every heartbeat. */
  beat(): void;
  /** Called when the stream was ended and not released in time: drops the connection. */
  breakOff(): void;
}

/** Everything open of one protocol: ended when the caller's credential ends and when the gateway stops; kept alive until then. */
export interface OpenStreams {
  readonly size: number;
  /** @returns release, to be called when the stream has ended for whatever reason */
  open(caller: Caller, stream: OpenStream): () => void;
  /** Ends the streams of callers whose credential was revoked. */
  endWhere(isConcerned: (caller: Caller) => boolean, message: string): void;
  /** Ends all streams, including those opened later, and waits until they are released; after `timeoutMs` the rest is broken off. */
  close(timeoutMs: number): Promise<void>;
}

export interface OpenStreamsOptions {
  heartbeatMs: number;
  now?: () => number;
}

interface Entry {
  stream: OpenStream;
  caller: Caller;
  expiry: NodeJS.Timeout | undefined;
  hasEnded: boolean;
}

/** How long a socket whose caller came with a bad credential stays open for a login. */
export const UNAUTHENTICATED_TIMEOUT_MS = 2_000;
/** Timers of equal length cost less than others. */
const TIMER_STEP_MS = 1_000;
/** The longest delay that a Node timer takes. */
const MAX_DELAY_MS = 2 ** 31 - 1;

const expired: StreamEnd = {
  code: "UNAUTHENTICATED",
  message: "The credential expired: connect again with a new one",
};
const goingAway: StreamEnd = { code: "GOING_AWAY", message: "The server is going away: connect again" };

export function createOpenStreams(options: OpenStreamsOptions): OpenStreams {
  const { heartbeatMs, now = Date.now } = options;
  const entries = new Set<Entry>();
  const heartbeat = createStaggeredInterval<Entry>({
    everyMs: heartbeatMs,
    items: entries,
    take: ({ stream, hasEnded }) => {
      if (!hasEnded) stream.beat();
    },
  });
  let isClosing = false;
  let onEmpty: (() => void) | null = null;

  function end(entry: Entry, why: StreamEnd): void {
    if (entry.hasEnded || !entries.has(entry)) return;
    entry.hasEnded = true;
    entry.stream.end(why);
  }

  function scheduleExpiry(entry: Entry, expiresAt: number): NodeJS.Timeout {
    const leftMs = expiresAt - now();
    const waitMs =
      leftMs > 10 * TIMER_STEP_MS ? Math.ceil(leftMs / TIMER_STEP_MS) * TIMER_STEP_MS : Math.max(leftMs, 0);
    const onTime = () => {
      if (leftMs > MAX_DELAY_MS) entry.expiry = scheduleExpiry(entry, expiresAt);
      else end(entry, expired);
    };
    return setTimeout(onTime, Math.min(waitMs, MAX_DELAY_MS)).unref();
  }

  return {
    get size() {
      return entries.size;
    },
    open(caller, stream) {
      const entry: Entry = { stream, caller, expiry: undefined, hasEnded: false };
      if (caller.expiresAt !== null) entry.expiry = scheduleExpiry(entry, caller.expiresAt);
      entries.add(entry);
      heartbeat.start();
      // Not at once: the caller has not got its release function yet.
      if (isClosing) queueMicrotask(() => end(entry, goingAway));
      return () => {
        clearTimeout(entry.expiry);
        entries.delete(entry);
        if (entries.size > 0) return;
        heartbeat.stopWhenEmpty();
        onEmpty?.();
      };
    },
    endWhere(isConcerned, message) {
      for (const entry of entries) {
        if (isConcerned(entry.caller)) end(entry, { code: "UNAUTHENTICATED", message });
      }
    },
    async close(timeoutMs) {
      isClosing = true;
      if (entries.size === 0) return;
      const released = new Promise<void>((resolve) => {
        onEmpty = resolve;
      });
      const timer = setTimeout(() => {
        for (const { stream } of entries) stream.breakOff();
      }, timeoutMs);
      for (const entry of entries) end(entry, goingAway);
      await released;
      clearTimeout(timer);
    },
  };
}

/** The end of a stream as a GraphQL error. */
export function errorOfEnd({ code, message }: StreamEnd): GraphQLFormattedError {
  return { message, extensions: { code } };
}
