import { buildSchema, parse, type ExecutionResult } from "graphql";
import { turns } from "@toolyard/testing/turns.ts";
import { expect, test } from "vitest";
import { anonymous } from "@toolyard/service-kit";
import { createSubscriptionEngine } from "./subscription-engine.ts";

function result(sequence: number): ExecutionResult {
  return { data: { changed: { sequence: String(sequence) } } };
}

function counting(last: number) {
  const state = { taken: 0, returned: false };
  async function* source(): AsyncGenerator<ExecutionResult, void, void> {
    try {
      for (let n = 1; n <= last; n++) {
        state.taken = n;
        yield result(n);
      }
    } finally {
      state.returned = true;
    }
  }
  return { state, source: source() };
}

const document = parse("subscription { changed { sequence } }");
const schema = buildSchema(`
  type Query { a: Int }
  type Subscription { changed(after: String): Event }
  type Event { sequence: String! }
`);

type Source = AsyncGenerator<ExecutionResult, void, void>;

function engineOf(source: Source, options: { maxQueuedEvents?: number; slowConsumerGraceMs?: number } = {}) {
  const engine = createSubscriptionEngine({
    executor: { subscribe: () => source, inspect: () => ({ kind: "subscription", name: null, document, schema }) },
    maxQueuedEvents: 10,
    slowConsumerGraceMs: 5_000,
    ...options,
  });
  return { engine, stream: engine.subscribe({ query: "", context: { caller: anonymous, requestId: "test" } }) };
}

test("everything comes through, in order", async () => {
  const { source } = counting(100);
  const received: ExecutionResult[] = [];
  for await (const next of engineOf(source).stream) received.push(next);
  expect(received).toEqual(Array.from({ length: 100 }, (_, index) => result(index + 1)));
});

test("a full queue holds the source back", async () => {
  const { source, state } = counting(1_000);
  const stream = engineOf(source).stream;
  await stream.next();
  await new Promise((resolve) => setImmediate(resolve));
  expect(state.taken).toBeLessThanOrEqual(13);
  await stream.return();
  expect(state.returned).toBe(true);
});

test("a client that leaves its queue full gets an error with the last sequence it was given, and the source is released", async () => {
  const { source, state } = counting(1_000);
  const { engine, stream } = engineOf(source, { maxQueuedEvents: 4, slowConsumerGraceMs: 20 });
  expect((await stream.next()).value).toEqual(result(1));
  expect((await stream.next()).value).toEqual(result(2));
  await expect.poll(() => engine.droppedEvents).toBeGreaterThan(0);
  const { value } = await stream.next();
  expect(value?.errors?.[0]?.extensions).toEqual({ code: "SLOW_CONSUMER", lastSequence: "2" });
  expect(await stream.next()).toEqual({ done: true, value: undefined });
  expect(engine.droppedEvents).toBe(5);
  expect(engine.activeStreams).toBe(0);
  expect(state.returned).toBe(true);
});

test("a client that is slow but steady is waited for", async () => {
  const { source } = counting(30);
  let received = 0;
  for await (const { errors } of engineOf(source, { maxQueuedEvents: 4, slowConsumerGraceMs: 2_000 }).stream) {
    expect(errors).toBeUndefined();
    received++;
    await turns(5);
  }
  expect(received).toBe(30);
});

test("what goes wrong in the source goes wrong here, after what came before", async () => {
  const source = (async function* () {
    yield result(1);
    throw new Error("broken");
  })();
  const { stream } = engineOf(source);
  expect((await stream.next()).value).toEqual(result(1));
  await expect(stream.next()).rejects.toThrow("broken");
  expect((await stream.next()).done).toBe(true);
});

test("returning ends a wait for the next result", async () => {
  let released = false;
  const source: Source = {
    next: () => new Promise(() => undefined),
    return: async () => {
      released = true;
      return { done: true, value: undefined };
    },
    throw: (error: unknown) => Promise.reject(error),
    [Symbol.asyncIterator]() {
      return this;
    },
    [Symbol.asyncDispose]: async () => undefined,
  };
  const { stream } = engineOf(source);
  const waiting = stream.next();
  await stream.return();
  expect((await waiting).done).toBe(true);
  expect(released).toBe(true);
});
