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
