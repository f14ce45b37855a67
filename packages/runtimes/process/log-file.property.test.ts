import { appendFileSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createLogFile } from "./log-file.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "toolyard-log-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const MAX_BYTES = 200;
/** Text, a rotation or a look at any time, a follower that reads on, and a new process that opens the file again. */
const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ print: fc.stringMatching(/^[a-zäß ]{0,30}$/) }) },
  { weight: 2, arbitrary: fc.constant("look" as const) },
  { weight: 2, arbitrary: fc.constant("follow" as const) },
  { weight: 1, arbitrary: fc.constant("reopen" as const) },
);

test("whatever is printed, looked at and reopened, the last lines are right, a follower that keeps up misses nothing, and space is bounded", () => {
  let run = 0;
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60, size: "max" }), fc.integer({ min: 1, max: 12 }), (steps, last) => {
      const path = join(folder, String(run++));
      let file = createLogFile({ path, maxBytes: MAX_BYTES });
      const printed: string[] = [];
      const followed: string[] = [];
      let position = 0;
      const follow = (final: boolean): void => {
        const { lines, next } = file.readFrom(position, final);
        followed.push(...lines.map(({ text }) => text));
        position = next;
      };
      for (const action of steps) {
        if (action === "look") {
          // What a follower has not read may go with the second rotation from now; this one keeps up.
          follow(false);
          file.observe(run);
        } else if (action === "follow") follow(false);
        else if (action === "reopen") {
          follow(false);
          file = createLogFile({ path, maxBytes: MAX_BYTES });
          position = file.end();
        } else {
          const text = `${printed.length} ${action.print}`;
          printed.push(text);
          appendFileSync(path, `${text}\n`);
        }
      }
      follow(true);
      expect(followed).toEqual(printed);
      const read = file.readLast(last).map(({ text }) => text);
      // Rotation keeps at least MAX_BYTES less one line, or everything.
      const lines = printed.slice(-last);
      const bytes = Buffer.byteLength(lines.map((line) => `${line}\n`).join(""));
      if (bytes <= MAX_BYTES - 70) expect(read).toEqual(lines);
      expect(lines.slice(lines.length - read.length)).toEqual(read);
      expect(statSync(`${path}.1`, { throwIfNoEntry: false })?.size ?? 0).toBeLessThanOrEqual(MAX_BYTES);
    }),
    { numRuns: 200 },
  );
});

test("a line gets the time at which it was first seen", () => {
  const path = join(folder, "times");
  const file = createLogFile({ path, maxBytes: 1_000 });
  appendFileSync(path, "one\n");
  file.observe(100);
  appendFileSync(path, "two\nthree\n");
  file.observe(200);
  expect(file.readLast(5).map(({ text, seenAt }) => [text, seenAt])).toEqual([
    ["one", 100],
    ["two", 200],
    ["three", 200],
  ]);
});

test("a line that was not seen yet is no older than those before it, although the file system's clock is behind", () => {
  const path = join(folder, "behind");
  const file = createLogFile({ path, maxBytes: 1_000 });
  const later = Date.now() + 60_000;
  appendFileSync(path, "one\n");
  file.observe(later);
  appendFileSync(path, "two\n");
  expect(file.readLast(2).map(({ seenAt }) => seenAt)).toEqual([later, later]);
});

test("an unfinished line waits for its end, unless there will be none; a very long one is cut", () => {
  const path = join(folder, "unfinished");
  const file = createLogFile({ path, maxBytes: 10_000_000 });
  appendFileSync(path, "half");
  expect(file.readFrom(0, false)).toEqual({ lines: [], next: 0 });
  expect(file.readFrom(0, true).lines.map(({ text }) => text)).toEqual(["half"]);
  appendFileSync(path, `\n${"x".repeat(3_000_000)}\nafter\n`);
  const texts: string[] = [];
  for (let position = 0, before = -1; position !== before;) {
    before = position;
    const { lines, next } = file.readFrom(position, false);
    texts.push(...lines.map(({ text }) => text));
    position = next;
  }
  expect([texts[0], texts.at(-1)]).toEqual(["half", "after"]);
  expect(Math.max(...texts.map((text) => text.length))).toBeLessThan(70_000);
});
