import { expect, test } from "vitest";
import { createProgress } from "./progress.ts";

function createStream(isTTY: boolean) {
  const written: string[] = [];
  return { isTTY, columns: 120, written, write: (text: string) => written.push(text) > 0 };
}

test("a terminal has one bar with the share, the rate and the time left, drawn ten times a second at most", () => {
  const stream = createStream(true);
  let time = 0;
  const progress = createProgress(stream, () => time);
  progress.begin("copied", 1_000);
  for (let step = 0; step < 100; step += 1) {
    time += 10;
    progress.done("tools.tools", 5);
  }
  expect(stream.written).toHaveLength(10);
  expect(stream.written.at(-1)).toMatch(
    /^\r\S+\[#{11,12}-+\] 4\d % copied tools\.tools: 4\d\d of 1000 rows, \d+ rows\/s, 2 s left$/,
  );
  progress.end();
  expect(stream.written.at(-1)).toBe("\n");
});

test("elsewhere there is a line for each part, and one every five seconds, without a terminal's codes", () => {
  const stream = createStream(false);
  let time = 0;
  const progress = createProgress(stream, () => time);
  progress.begin("copied", 100);
  for (const [part, rows] of [
    ["a.one", 10],
    ["a.one", 10],
    ["b.two", 20],
  ] as const) {
    time += 1_000;
    progress.done(part, rows);
  }
  time += 6_000;
  progress.done("b.two", 10);
  expect(stream.written).toEqual([
    "10 % copied a.one: 10 of 100 rows, 10 rows/s, 9 s left\n",
    "40 % copied b.two: 40 of 100 rows, 13 rows/s, 5 s left\n",
    "50 % copied b.two: 50 of 100 rows, 6 rows/s, 9 s left\n",
  ]);
});
