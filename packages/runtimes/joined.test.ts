import { setImmediate as turn } from "node:timers/promises";
import { expect, test } from "vitest";
import { joined } from "./joined.ts";

/** Gives what it is sent, and tells whether it ended. */
function source() {
  const sent: string[] = [];
  const state = { send: (item: string) => void sent.push(item), end: false, ended: false, broken: false };
  async function* open(until: AbortSignal): AsyncGenerator<string> {
    try {
      while (!until.aborted && !state.end) {
        if (state.broken) throw new Error("broken");
        const item = sent.shift();
        if (item === undefined) await turn();
        else yield item;
      }
    } finally {
      state.ended = true;
    }
  }
  return { ...state, state, open };
}

async function reading(signal = new AbortController().signal) {
  const [own, other] = [source(), source()];
  const items: string[] = [];
  const read = (async () => {
    for await (const item of joined(own.open, other.open, signal)) {
      items.push(item);
      if (item === "enough") break;
    }
  })();
  return { own, other, items, read };
}

test("items of both come, of the second also while the first is silent, until the first ends", async () => {
  const { own, other, items, read } = await reading();
  other.send("b1");
  await expect.poll(() => items).toEqual(["b1"]);
  own.send("a1");
  other.send("b2");
  await expect.poll(() => items.toSorted()).toEqual(["a1", "b1", "b2"]);
  own.state.end = true;
  await read;
  expect(other.state.ended).toBe(true);
});

test("the first goes on when the second has ended", async () => {
  const { own, other, items, read } = await reading();
  other.state.end = true;
  await expect.poll(() => other.state.ended).toBe(true);
  own.send("a1");
  await expect.poll(() => items).toEqual(["a1"]);
  own.state.end = true;
  await read;
});

test.each(["its reader leaves", "the signal is aborted", "one breaks"])("both are ended when %s", async (how) => {
  const controller = new AbortController();
  const { own, other, items, read } = await reading(controller.signal);
  const outcome = read.then(
    () => "ended",
    ({ message }: Error) => message,
  );
  own.send("a1");
  await expect.poll(() => items).toEqual(["a1"]);
  if (how === "its reader leaves") other.send("enough");
  else if (how === "one breaks") other.state.broken = true;
  else controller.abort();
  expect(await outcome).toBe(how === "one breaks" ? "broken" : "ended");
  expect([own.state.ended, other.state.ended]).toEqual([true, true]);
});
