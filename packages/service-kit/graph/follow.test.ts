import { expect, test } from "vitest";
import { createLogger } from "../process/log.ts";
import { follow } from "./follow.ts";

/** Follows what `open` gives, until it has been opened `times` times. */
async function followed(
  times: number,
  open: (time: number, log: readonly string[]) => AsyncIterable<string>,
  take: (item: string) => void = () => undefined,
) {
  const log: string[] = [];
  const broken: unknown[] = [];
  const stopping = new AbortController();
  let opened = 0;
  await follow({
    name: "tests",
    open() {
      opened += 1;
      if (opened === times) stopping.abort();
      return open(opened, log);
    },
    take,
    onBroken: (error) => broken.push(error),
    signal: stopping.signal,
    openMs: 1,
    logger: createLogger({ level: "info", name: "test", destination: { write: (line) => log.push(line) } }),
  });
  return { opened, log, broken };
}

test("a stream that ends or breaks is opened again, and no item is taken twice", async () => {
  const taken: string[] = [];
  const { opened } = await followed(
    4,
    async function* (time) {
      yield `${time}a`;
      yield `${time}b`;
      if (time === 2) throw new Error("broken");
    },
    (item) => taken.push(item),
  );
  expect(opened).toBe(4);
  expect(taken).toEqual(["1a", "1b", "2a", "2b", "3a", "3b", "4a", "4b"]);
});

test("an outage is logged once, with its reason, and again after something came", async () => {
  const { log, broken } = await followed(5, async function* (time) {
    if (time === 3) yield "well";
    throw new Error(`reason ${time}`);
  });
  // The last one breaks when nobody follows any more.
  expect(broken).toHaveLength(4);
  const lines = log.map((line) => JSON.parse(line) as { reason?: string; message: string });
  expect(lines.map(({ reason, message }) => reason ?? message)).toEqual([
    "reason 1",
    "a stream works again",
    "reason 3",
  ]);
});

test("a stream that has nothing to say works again, too, when it has stayed open", async () => {
  const { log } = await followed(3, async function* (time, said) {
    if (time !== 2) throw new Error(`reason ${time}`);
    await expect.poll(() => said.join()).toContain("a stream works again");
    yield* [];
  });
  expect(log).toHaveLength(2);
});

test("what cannot be taken breaks the stream, so that it is asked for again", async () => {
  const taken: string[] = [];
  await followed(
    2,
    async function* (time) {
      yield `${time}`;
      yield "after it";
    },
    (item) => {
      if (item === "1") throw new Error("unreadable");
      taken.push(item);
    },
  );
  expect(taken).toEqual(["2", "after it"]);
});
