/** What the processes of the benchmark of subscriptions tell each other. */

/** A log of events: event n (from 1) happens `n / rate` seconds after `beganAt`, until there are `count`. */
export interface Clock {
  /** Epoch milliseconds. */
  beganAt: number;
  rate: number;
  count: number;
}

/** What a gateway's process answers to a question of the probe. */
export interface Usage {
  rss: number;
  /** Of V8 and of what hangs on it outside. */
  heap: number;
  cpuMs: number;
}

/** What the foreign subgraph answers. */
export interface FeedCounts {
  /** Subscriptions of the gateway. */
  streams: number;
  sockets: number;
  /** Requests for what events refer to. */
  fetches: number;
}

export interface Latencies {
  count: number;
  p50: number;
  p99: number;
  max: number;
}

/** How one subscriber fared. */
export interface Reader {
  isSlow: boolean;
  /** The last sequence received; null before the first. */
  last: number | null;
  /** The first sequence received. */
  first: number | null;
  received: number;
  reconnects: number;
  /** Errors that said that it reads too slowly, each with the last sequence it was sent. */
  told: number;
  /** Sockets of a slow one that ended without such an error. */
  lost: number;
  /** Errors that said that the subgraph's stream broke. */
  broken: number;
  /** What was not to come, such as another event than the next. */
  wrong: string | null;
  isComplete: boolean;
}

export interface ClientReport {
  /** From an event's happening to its being received, for readers that are not slow: all of them, and those that came live. */
  all: Latencies;
  live: Latencies;
  readers: Reader[];
}

/** The time on all processes' one clock, finer than a millisecond. */
export function now(): number {
  return performance.timeOrigin + performance.now();
}
