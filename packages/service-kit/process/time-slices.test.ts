import { setImmediate as loopTurn } from "node:timers/promises";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createSerialQueue, nextTimeSlice, sliceAfter } from "./time-slices.ts";

/** Of the event loop, while `work` runs. */
async function turnsDuring(work: () => Promise<unknown>): Promise<number> {
  let turns = 0;
  let done = false;
  const counting = (async () => {
    for (; !done; turns += 1) await loopTurn();
  })();
  await work();
  done = true;
  await counting;
  return turns;
}

/** As far as the clock tells, which moves by this only. */
let computedMs = 0;
function compute(ms: number): void {
  computedMs += ms;
}
beforeEach(() => void vi.spyOn(performance, "now").mockImplementation(() => computedMs));
afterEach(() => void vi.restoreAllMocks());

test("work that is asked for at once is done in the order of asking, with turns of the event loop between", async () => {
  const order: number[] = [];
  const queue = createSerialQueue();
  const work = async (index: number) => {
    // What comes of it without waiting belongs to it.
    for (let step = 0; step < 5; step += 1) await Promise.resolve();
    compute(3);
    order.push(index);
  };
  const indices = Array.from({ length: 40 }, (_, index) => index);
  const turns = await turnsDuring(() => Promise.all(indices.map((index) => queue.run(() => work(index)))));
  expect(order).toEqual(indices);
  // 40 pieces of 3 ms, of which those that begin within 10 ms may share a turn.
  expect(turns).toBeGreaterThanOrEqual(9);
});

test("what one piece of work does after another waits too, behind those who asked before", async () => {
  const done: string[] = [];
  const work = async (name: string) => {
    for (let piece = 0; piece < 3; piece += 1) {
      await nextTimeSlice();
      compute(11);
      done.push(`${name}${piece}`);
    }
  };
  await Promise.all([work("a"), work("b")]);
  expect(done).toEqual(["a0", "b0", "a1", "b1", "a2", "b2"]);
});

test("what fails fails alone", async () => {
  const queue = createSerialQueue();
  const failed = queue.run(() => Promise.reject(new Error("no")));
  const next = queue.run(() => Promise.resolve("yes"));
  await expect(failed).rejects.toThrow("no");
  expect(await next).toBe("yes");
  await queue.done();
});

test("with time left nothing is waited for", async () => {
  await loopTurn();
  expect(nextTimeSlice()).toBeNull();
});

test("long steps of one piece of work are each done in a turn of their own, short ones in one", async () => {
  const steps = async (ms: number) => {
    for (let step = 0; step < 4; step += 1) {
      const from = computedMs;
      compute(ms);
      await sliceAfter(from);
    }
  };
  await loopTurn();
  expect(await turnsDuring(() => steps(25))).toBeGreaterThanOrEqual(4);
  await loopTurn();
  expect(await turnsDuring(() => steps(1))).toBeLessThan(3);
  // As of the turn, in which others may have been at work before.
  await loopTurn();
  expect(sliceAfter()).toBeNull();
  void nextTimeSlice();
  compute(25);
  const slice = sliceAfter();
  expect(slice).not.toBeNull();
  await slice;
});
