import { ToolyardError, type Logger } from "@toolyard/service-kit";
import { createOutageLog } from "@toolyard/storage";
import type { WakeUpBus } from "./bus.ts";
import { parseSequence, type EventLog, type LoggedEvent, type Sequence } from "./event-log.ts";

export interface FollowOptions<Payload> {
  /** Replays the events after this sequence, then goes on live. Null: from now. */
  after: string | null;
  /** Only events for which this holds. */
  filter?: (event: LoggedEvent<Payload>) => boolean;
  /** Only this subject: replays by its index. */
  subjectId?: string;
  /** Called with the events that come next, before the first of them: to read their data in one batch. */
  onBatch?: (events: readonly LoggedEvent<Payload>[]) => void;
  signal?: AbortSignal;
}

/** The live end of an event log, read once for all followers in this process. */
export interface EventTail<Payload> {
  /**
   * Events in order, none missed, none twice. Ends when `signal` aborts or the tail closes.
   * @throws ToolyardError BAD_USER_INPUT when `after` is malformed, beyond the log's end or older than the log
   *   (`extensions.oldestSequence`); SLOW_CONSUMER with `extensions.lastSequence` when the consumer is too slow.
   */
  follow(options: FollowOptions<Payload>): AsyncIterableIterator<LoggedEvent<Payload>>;
  /** Where the log begins and ends: who follows it after `latestSequence` misses nothing that happens from now on. */
  range(): Promise<EventLogRange>;
  close(): void;
}

/** As the graph has it: `after` may be from `oldestSequence` to `latestSequence`, or "0". */
export interface EventLogRange {
  oldestSequence: string;
  latestSequence: string;
}

interface Follower<Payload> {
  queue: LoggedEvent<Payload>[];
  overflowed: boolean;
  wake: () => void;
}

const PAGE = 500;

export function createEventTail<Payload>(options: {
  log: EventLog<Payload>;
  bus: WakeUpBus;
  logger: Logger;
  /** Interval of polls without a wake: unless the bus says otherwise, other processes write to the same log. */
  pollIntervalMs?: number;
  /** Events a slow consumer may lag behind the live end before its stream ends. */
  maxQueue?: number;
}): EventTail<Payload> {
  const { log, bus, logger, maxQueue = 10_000 } = options;
  const { pollIntervalMs = bus.reachesAllWriters ? 2_000 : 500 } = options;
  const outages = createOutageLog({ what: "reading the event log", fields: { topic: log.topic }, logger });
  const followers = new Set<Follower<Payload>>();
  let position: Sequence | null = null;
  let reading = false;
  let again = false;
  let closed = false;
  let timer: NodeJS.Timeout | null = null;
  let unsubscribe: (() => void) | null = null;

  /** Reads on from `position` and hands events to all followers; one reader at a time. */
  async function advance(): Promise<void> {
    if (reading) {
      again = true;
      return;
    }
    reading = true;
    try {
      do {
        again = false;
        if (position === null) continue;
        const events = await log.readAfter(position, PAGE);
        for (const event of events) {
          position = event.sequence;
          for (const follower of followers) enqueue(follower, event);
        }
        if (events.length > 0) for (const follower of followers) follower.wake();
        if (events.length === PAGE) again = true;
      } while (again && !closed);
      if (position !== null) outages.works();
    } catch (error) {
      outages.failed(error);
    } finally {
      reading = false;
    }
  }

  function enqueue(follower: Follower<Payload>, event: LoggedEvent<Payload>): void {
    if (follower.overflowed) return;
    if (follower.queue.length >= maxQueue) follower.overflowed = true;
    else follower.queue.push(event);
  }

  const look = () => void advance();

  function attach(follower: Follower<Payload>): void {
    followers.add(follower);
    if (timer) return;
    unsubscribe = bus.onWake(log.topic, look);
    timer = setInterval(look, pollIntervalMs);
    timer.unref();
  }

  function detach(follower: Follower<Payload>): void {
    followers.delete(follower);
    if (followers.size > 0) return;
    unsubscribe?.();
    if (timer) clearInterval(timer);
    timer = unsubscribe = null;
    position = null;
  }

  async function* follow({
    after,
    filter,
    subjectId,
    onBatch,
    signal,
  }: FollowOptions<Payload>): AsyncGenerator<LoggedEvent<Payload>, undefined> {
    const wanted = (event: LoggedEvent<Payload>) =>
      (subjectId === undefined || event.subjectId === subjectId) && (filter === undefined || filter(event));
    let wakeUp = Promise.withResolvers<void>();
    const follower: Follower<Payload> = { queue: [], overflowed: false, wake: () => wakeUp.resolve() };
    const onAbort = () => wakeUp.resolve();
    signal?.addEventListener("abort", onAbort, { once: true });
    attach(follower);
    try {
      // Joined to the live end first, so that nothing between replay and live is missed; duplicates are skipped.
      const latest = await (after === null ? log.latestInTurn() : log.latest());
      position ??= latest; // another follower may have set it while this one waited
      let last: Sequence = after === null ? latest : await startOf(after, latest);
      while (after !== null && !signal?.aborted && !closed) {
        const page = await log.readAfter(last, PAGE, subjectId);
        onBatch?.(page.filter(wanted));
        for (const event of page) {
          last = event.sequence;
          if (wanted(event)) yield event;
          if (signal?.aborted || closed) return;
        }
        if (page.length < PAGE) break;
      }
      while (!signal?.aborted && !closed) {
        const batch = follower.queue;
        follower.queue = [];
        onBatch?.(batch.filter((event) => event.sequence > last && wanted(event)));
        for (const event of batch) {
          if (event.sequence <= last) continue;
          last = event.sequence;
          if (wanted(event)) yield event;
          if (signal?.aborted || closed) return;
        }
        if (follower.queue.length > 0) continue;
        if (follower.overflowed) throw overflow(last);
        wakeUp = Promise.withResolvers();
        if (follower.queue.length === 0 && !signal?.aborted && !closed) await wakeUp.promise;
      }
    } finally {
      signal?.removeEventListener("abort", onAbort);
      detach(follower);
    }
  }

  async function startOf(after: string, latest: Sequence): Promise<Sequence> {
    const sequence = parseSequence(after);
    if (sequence > latest)
      throw outOfLog(`${after} is beyond the end of the event log, which is ${latest}.`, {
        latestSequence: String(latest),
      });
    const trimmedTo = await log.trimmedTo();
    if (sequence < trimmedTo && sequence !== 0) {
      throw outOfLog(
        `The event log no longer reaches back to ${after}. Start from after: "${trimmedTo}", or "0" for all there is.`,
        {
          oldestSequence: String(trimmedTo),
        },
      );
    }
    return sequence;
  }

  return {
    follow,
    async range() {
      const [oldest, latest] = await Promise.all([log.trimmedTo(), log.latestInTurn()]);
      return { oldestSequence: String(oldest), latestSequence: String(latest) };
    },
    close() {
      closed = true;
      for (const follower of followers) follower.wake();
    },
  };
}

function outOfLog(message: string, extensions: Record<string, unknown>): ToolyardError {
  return new ToolyardError("BAD_USER_INPUT", message, { problems: [{ path: "after", message }], extensions });
}

function overflow(last: Sequence): ToolyardError {
  return new ToolyardError(
    "SLOW_CONSUMER",
    `This stream was read too slowly and ends. Subscribe again with after: "${last}" to go on from there.`,
    {
      extensions: { lastSequence: String(last) },
    },
  );
}
