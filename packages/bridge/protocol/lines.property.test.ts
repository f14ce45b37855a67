import { heapGrownBy } from "@toolyard/testing/heap.ts";
import fc from "fast-check";
import { expect, test } from "vitest";

import { createLineSplitter } from "./lines.ts";
import { createLineLog, MAX_LOG_TEXT } from "../child/line-log.ts";

function split(chunks: Uint8Array[], maxBytes: number): { lines: string[]; overflows: number } {
  const lines: string[] = [];
  let overflows = 0;
  const splitter = createLineSplitter({
    maxBytes,
    onLine: (line) => lines.push(line),
    onOverflow: () => (overflows += 1),
  });
  for (const chunk of chunks) splitter.push(Buffer.from(chunk));
  splitter.end();
  return { lines, overflows };
}

test("lines are the same however the stream is cut into chunks", () => {
  const text = fc
    .array(fc.string({ unit: fc.constantFrom("a", "é", "🙂", "\n", "\r\n", "{") }), { maxLength: 20 })
    .map((parts) => parts.join(""));
  fc.assert(
    fc.property(text, fc.array(fc.nat(40), { maxLength: 20 }), (whole, cuts) => {
      const bytes = Buffer.from(whole);
      const at = [0, ...cuts.map((cut) => Math.min(cut, bytes.length)).sort((a, b) => a - b), bytes.length];
      const chunks = at.slice(1).map((end, index) => bytes.subarray(at[index], end));
      expect(split(chunks, 1_000)).toEqual({
        lines: whole
          .split("\n")
          .map((line) => line.replace(/\r$/, ""))
          .filter((line) => line !== ""),
        overflows: 0,
      });
    }),
    { numRuns: 300 },
  );
});

test("a line over the limit is reported once and dropped, and the lines around it are kept", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 12 }), (over, size) => {
      const bytes = Buffer.from(`one\n${"x".repeat(10 + over)}\ntwo\n`);
      const chunks: Uint8Array[] = [];
      for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.subarray(at, at + size));
      expect(split(chunks, 10)).toEqual({ lines: ["one", "two"], overflows: 1 });
    }),
  );
});

test("a line in parts of a byte takes little more room than its bytes", async () => {
  const lines: string[] = [];
  const splitter = createLineSplitter({
    maxBytes: 200_000,
    onLine: (line) => lines.push(line),
    onOverflow: () => expect.unreachable(),
  });
  // A list of the parts has twenty megabytes.
  const grownBy = await heapGrownBy(() => {
    for (let at = 0; at < 200_000; at++) splitter.push(Buffer.from("x"));
  });
  expect(grownBy).toBeLessThan(6_000_000);
  splitter.end();
  expect(lines).toEqual(["x".repeat(200_000)]);
});

test("a log line is one bounded line of JSON", () => {
  const written: string[] = [];
  createLineLog(
    (line) => written.push(line),
    () => 5,
  ).write("STDERR", `a\nb${"x".repeat(2 * MAX_LOG_TEXT)}`);
  expect(written.length).toBe(1);
  expect(written[0]?.split("\n").length).toBe(2);
  const { at, stream, text } = JSON.parse(written[0] ?? "");
  expect([at, stream, text.length < MAX_LOG_TEXT + 60, text.includes("truncated")]).toEqual([5, "STDERR", true, true]);
});
