import type { ExecutionResult } from "graphql";
import { isPublic, type Logger } from "@toolyard/service-kit";
import { clientError, createLifetime, failure, type Execution, type Lifetime } from "./execution.ts";
import { createLightAbort, type AbortSignalLike, type LightAbort } from "@toolyard/service-kit/process/light-abort.ts";
import { pickVariables, type Step } from "./fetch-steps.ts";
import type { CompiledSubscription } from "./plan-compiler.ts";
import type { EventTrace, SubgraphClient, SubgraphResponse } from "../clients/subgraph-client.ts";

export interface ResultStreamOptions {
  subscription: CompiledSubscription;
  /** The fetches for each event. */
  run: Step | null;
  begin(lifetime: Lifetime): Execution;
  finish(execution: Execution): ExecutionResult;
  outerSignal: AbortSignalLike | undefined;
  onOpen: (() => void) | undefined;
  /** As of the request. */
  isRetried: boolean;
  /** For the fetches of one event. */
  timeoutMs: number;
  log: Pick<Logger, "error" | "warn"> | undefined;
}

/** How many events of one subscription are completed at the same time. */
const MAX_PENDING = 8;
/** For so long a subgraph's streams are taken to have broken with the first, for the log. */
const SAME_OUTAGE_MS = 10_000;
/** When the log was last told that streams of a subgraph broke, by a clock that never jumps. */
const outages = new WeakMap<SubgraphClient, number>();

/**
 * The results of a subscription. Events are taken from the subgraph one after the other, completed side by side, and leave in the
 * order in which they came; no more than MAX_PENDING of them are under way.
 */
export function streamResults(options: ResultStreamOptions): AsyncGenerator<ExecutionResult, void, void> {
  const controller = createLightAbort();
  const results = generate(options, controller);
  return {
    next: () => results.next(),
    // A generator that waits for an event would look at `return` only after it: the waiting is ended first.
    return: () => {
      controller.abort(null);
      return results.return();
    },
    throw: (error: unknown) => {
      controller.abort(null);
      return results.throw(error);
    },
    [Symbol.asyncIterator]() {
      return this;
    },
    async [Symbol.asyncDispose]() {
      controller.abort(null);
      await results.return();
    },
  };
}

/** A stream that is not open yet. Returning from it waits until it is. */
export function later(
  stream: Promise<AsyncGenerator<ExecutionResult, void, void>>,
): AsyncGenerator<ExecutionResult, void, void> {
  // The reader gets a failure; in a stream that nobody reads, it is ignored.
  stream.catch(() => undefined);
  return {
    next: async () => (await stream).next(),
    return: async () => (await stream).return(),
    throw: async (error: unknown) => (await stream).throw(error),
    [Symbol.asyncIterator]() {
      return this;
    },
    async [Symbol.asyncDispose]() {
      await (await stream).return();
    },
  };
}

async function* generate(
  options: ResultStreamOptions,
  controller: LightAbort,
): AsyncGenerator<ExecutionResult, void, void> {
  const { subscription, run, begin, outerSignal, onOpen, isRetried, log } = options;
  const { client, fetch } = subscription;
  const onOuterAbort = () => controller.abort(outerSignal?.reason);
  if (outerSignal?.aborted) onOuterAbort();
  outerSignal?.addEventListener("abort", onOuterAbort, { once: true });
  const { signal } = controller;
  const lifetime = createLifetime(signal, Infinity);
  const start = begin(lifetime);
  let wasOpen = false;
  const events = client
    .subscribe({
      query: fetch.operation,
      variables: pickVariables(fetch.variables, start),
      context: start.context,
      signal,
      onOpen() {
        wasOpen = true;
        onOpen?.();
      },
    })
    [Symbol.asyncIterator]();

  // Not by racing with a promise for the end: that would keep each event for as long as the stream is open.
  let onEnd: (() => void) | null = null;
  signal.addEventListener("abort", () => onEnd?.(), { once: true });
  const nextEvent = () =>
    new Promise<IteratorResult<SubgraphResponse> | null>((resolve, reject) => {
      onEnd = () => resolve(null);
      events.next().then(resolve, reject);
    });

  let hasEnded = false;
  let previous: Promise<unknown> = Promise.resolve();
  const takeNext = async (turn: Promise<unknown>): Promise<SubgraphResponse | null> => {
    await turn;
    if (hasEnded || signal.aborted) return null;
    try {
      const next = await nextEvent();
      if (next && !next.done) return next.value;
      hasEnded = true;
      return null;
    } catch (error) {
      hasEnded = true;
      if (signal.aborted) return null;
      throw error;
    }
  };
  const nextResult = (): Promise<ExecutionResult | null> => {
    const taken = takeNext(previous);
    // A failure goes to the reader that waits for the event's result.
    previous = taken.catch(() => undefined);
    return taken.then((event) => (event === null ? null : completeEvent(event, options, signal)));
  };

  const pending: Promise<ExecutionResult | null>[] = [];
  // With nothing to fetch for an event there is nothing to gain from being ahead.
  const maxPending = run === null ? 1 : MAX_PENDING;
  try {
    while (!signal.aborted) {
      while (pending.length < maxPending && !hasEnded) {
        const next = nextResult();
        next.catch(() => undefined);
        pending.push(next);
      }
      const result = await pending.shift();
      if (!result || signal.aborted) return;
      yield result;
    }
  } catch (error) {
    if (signal.aborted) return;
    const { message: told, extensions } = failure(client.name, error, signal);
    // A subgraph's own message to the client, such as that `after` is no position, is no failure.
    const isAnswer =
      isPublic(error) && !["UPSTREAM_UNAVAILABLE", "TIMEOUT", "INTERNAL_SERVER_ERROR"].includes(error.code);
    const { requestId } = start.context;
    if (!isAnswer && (wasOpen || !isRetried)) {
      if (!isPublic(error)) log?.error({ err: error, subgraph: client.name, requestId }, "a subgraph's stream broke");
      else if (performance.now() - (outages.get(client) ?? -Infinity) > SAME_OUTAGE_MS) {
        outages.set(client, performance.now());
        log?.warn({ reason: error.message, subgraph: client.name, requestId }, "streams of a subgraph broke");
      }
    }
    const message = isAnswer ? told : `The stream of the subgraph "${client.name}" broke. Subscribe again.`;
    yield { errors: [clientError({ message, extensions }, client.name, undefined, start)] };
  } finally {
    outerSignal?.removeEventListener("abort", onOuterAbort);
    controller.abort(null);
    lifetime.end();
    // Not awaited: a stream that waits for its next event may answer only after it.
    void Promise.resolve(events.return?.()).catch((error: unknown) => {
      log?.error({ err: error, subgraph: client.name }, "closing a subgraph's stream failed");
    });
  }
}

async function completeEvent(
  event: SubgraphResponse,
  { subscription, run, begin, finish, timeoutMs }: ResultStreamOptions,
  signal: AbortSignalLike,
): Promise<ExecutionResult> {
  const lifetime = createLifetime(signal, timeoutMs);
  let recorded: EventTrace | undefined;
  try {
    const execution = begin(lifetime);
    recorded = execution.context.trace?.event();
    if (recorded) execution.context = recorded.inside(execution.context);
    // Clients that get the same event share reads for it; reads for an earlier one are too old.
    if (run) execution.readScope = JSON.stringify(event);
    subscription.takeEvent(event, execution);
    await run?.(execution);
    const result = finish(execution);
    recorded?.end(result.errors);
    return result;
  } finally {
    recorded?.end(undefined);
    lifetime.end();
  }
}
