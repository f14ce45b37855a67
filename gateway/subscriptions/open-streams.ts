import type { Caller } from "@toolyard/service-kit";
import type { GraphQLFormattedError } from "graphql";

/** Why the gateway ends what a client would have gone on with. */
export interface StreamEnd {
  /** UNAUTHENTICATED when the credential expired or was revoked; GOING_AWAY when the gateway stops: connect again. */
  code: "UNAUTHENTICATED" | "GOING_AWAY";
  message: string;
}

/** A connection or a stream of one caller, as the registry sees it. */
export interface OpenStream {
  /** Called once at most. What it ends is released by whoever opened it. */
  end(why: StreamEnd): void;
  /** Called at every heartbeat. */
  beat(): void;
  /** Called when it was ended and not released in time: drops the connection. */
  breakOff(): void;
}

/** Everything open of one protocol: ended when the caller's credential ends and when the gateway stops; kept alive until then. */
export interface OpenStreams {
  readonly size: number;
  /** @returns release, to be called when the stream has ended for whatever reason */
  open(caller: Caller, stream: OpenStream): () => void;
  /** Ends the streams of callers whose credential was revoked. */
  endWhere(isConcerned: (caller: Caller) => boolean, message: string): void;
  /** Ends all, also those opened later, and waits until they are released; after `timeoutMs` the rest is broken off. */
  close(timeoutMs: number): Promise<void>;
}

export interface OpenStreamsOptions {
  heartbeatMs: number;
  now?: () => number;
}

/** The longest delay that a Node timer takes. */
const longestDelayMs = 2 ** 31 - 1;

const expired: StreamEnd = {
  code: "UNAUTHENTICATED",
  message: "The credential expired: connect again with a new one",
};
const goingAway: StreamEnd = { code: "GOING_AWAY", message: "The server is going away: connect again" };

export function createOpenStreams(options: OpenStreamsOptions): OpenStreams {
  const { heartbeatMs, now = Date.now } = options;
  const streams = new Map<OpenStream, { caller: Caller; expiry: NodeJS.Timeout | undefined; hasEnded: boolean }>();
  let isClosing = false;
  let heartbeat: NodeJS.Timeout | undefined;
  let onEmpty: (() => void) | null = null;

  function end(stream: OpenStream, why: StreamEnd): void {
    const entry = streams.get(stream);
    if (!entry || entry.hasEnded) return;
    entry.hasEnded = true;
    stream.end(why);
  }

  function scheduleExpiry(stream: OpenStream, expiresAt: number): NodeJS.Timeout {
    const leftMs = expiresAt - now();
    const timer = setTimeout(
      () => {
        const entry = streams.get(stream);
        if (!entry) return;
        if (leftMs > longestDelayMs) entry.expiry = scheduleExpiry(stream, expiresAt);
        else end(stream, expired);
      },
      Math.min(Math.max(leftMs, 0), longestDelayMs),
    );
    return timer.unref();
  }

  return {
    get size() {
      return streams.size;
    },
    open(caller, stream) {
      const expiry = caller.expiresAt === null ? undefined : scheduleExpiry(stream, caller.expiresAt);
      streams.set(stream, { caller, expiry, hasEnded: false });
      heartbeat ??= setInterval(() => {
        for (const [open, { hasEnded }] of streams) if (!hasEnded) open.beat();
      }, heartbeatMs).unref();
      // Not at once: whoever opens it has not got its release yet.
      if (isClosing) queueMicrotask(() => end(stream, goingAway));
      return () => {
        const entry = streams.get(stream);
        clearTimeout(entry?.expiry);
        streams.delete(stream);
        if (streams.size > 0) return;
        clearInterval(heartbeat);
        heartbeat = undefined;
        onEmpty?.();
      };
    },
    endWhere(isConcerned, message) {
      for (const [stream, { caller }] of streams) {
        if (isConcerned(caller)) end(stream, { code: "UNAUTHENTICATED", message });
      }
    },
    async close(timeoutMs) {
      isClosing = true;
      if (streams.size === 0) return;
      const released = new Promise<void>((resolve) => {
        onEmpty = resolve;
      });
      const timer = setTimeout(() => {
        for (const stream of streams.keys()) stream.breakOff();
      }, timeoutMs);
      for (const stream of streams.keys()) end(stream, goingAway);
      await released;
      clearTimeout(timer);
    },
  };
}

/** The end of a stream as an error of GraphQL. */
export function errorOfEnd({ code, message }: StreamEnd): GraphQLFormattedError {
  return { message, extensions: { code } };
}
