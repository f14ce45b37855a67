import { GraphQLError, type ExecutionResult } from "graphql";

export interface BoundedStreamOptions {
  source: AsyncGenerator<ExecutionResult, void, void>;
  /** How many results may wait for the client. While so many wait, nothing is taken from the source. */
  maxQueued: number;
  /** How long the queue may stay full: when half of it is not taken in this time, the client is too slow and the stream ends. */
  graceMs: number;
  onOverflow(dropped: number): void;
}

/**
 * Puts a bounded queue between a subscription and its client. A queue that is full holds the source back, so replaying a long log to
 * a healthy client costs no memory; one that stays full ends the stream with SLOW_CONSUMER and the last sequence delivered, so that
 * the client can subscribe again after it.
 */
export function createBoundedStream(options: BoundedStreamOptions): AsyncGenerator<ExecutionResult, void, void> {
  const { source, maxQueued, graceMs, onOverflow } = options;
  let queue: ExecutionResult[] = [];
  let hasEnded = false;
  let failure: { error: unknown } | null = null;
  let lastSequence: string | null = null;
  let wakeConsumer: (() => void) | null = null;
  let wakePump: (() => void) | null = null;

  const wake = () => {
    wakeConsumer?.();
    wakeConsumer = null;
  };
  const resume = () => {
    wakePump?.();
    wakePump = null;
  };

  /** Waits until half of the queue is taken. @returns false when it is not in time */
  async function hasSpace(): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<false>((resolve) => {
      timer = setTimeout(() => resolve(false), graceMs);
      timer.unref();
    });
    const taken = new Promise<true>((resolve) => {
      wakePump = () => resolve(true);
    });
    try {
      return await Promise.race([taken, late]);
    } finally {
      clearTimeout(timer);
      wakePump = null;
    }
  }

  async function pump(): Promise<void> {
    try {
      for await (const result of source) {
        if (hasEnded) return;
        if (queue.length >= maxQueued && !(await hasSpace())) {
          overflow();
          return;
        }
        if (hasEnded) return;
        queue.push(result);
        wake();
      }
    } catch (error) {
      failure = { error };
    } finally {
      hasEnded = true;
      wake();
    }
  }

  function overflow(): void {
    onOverflow(queue.length + 1);
    const message =
      lastSequence === null
        ? "This client takes events too slowly. Subscribe again."
        : `This client takes events too slowly. Subscribe again, after the sequence ${lastSequence}.`;
    queue = [{ errors: [new GraphQLError(message, { extensions: { code: "SLOW_CONSUMER", lastSequence } })] }];
    hasEnded = true;
  }

  let isPumping = false;
  async function end(): Promise<IteratorReturnResult<void>> {
    hasEnded = true;
    queue = [];
    resume();
    wake();
    await source.return();
    return { done: true, value: undefined };
  }

  return {
    async next() {
      if (!isPumping) {
        isPumping = true;
        // It never rejects: a failure waits for the client that takes it.
        void pump();
      }
      while (queue.length === 0) {
        if (failure) {
          const { error } = failure;
          failure = null;
          throw error;
        }
        if (hasEnded) return { done: true, value: undefined };
        await new Promise<void>((resolve) => {
          wakeConsumer = resolve;
        });
      }
      const result = queue.shift();
      if (!result) return { done: true, value: undefined };
      lastSequence = sequenceOf(result) ?? lastSequence;
      if (queue.length * 2 <= maxQueued) resume();
      return { done: false, value: result };
    },
    return: end,
    async throw(error) {
      await end();
      throw error;
    },
    [Symbol.asyncIterator]() {
      return this;
    },
    async [Symbol.asyncDispose]() {
      await end();
    },
  };
}

/** The `sequence` of the event in a subscription's result, where the client selected it. */
export function sequenceOf({ data }: ExecutionResult): string | null {
  for (const event of Object.values(data ?? {})) {
    if (typeof event === "object" && event !== null && "sequence" in event && typeof event.sequence === "string") {
      return event.sequence;
    }
  }
  return null;
}
