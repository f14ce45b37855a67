import fc from "fast-check";
import { expect, test } from "vitest";
import { createPodOutputReader } from "./pod-output.ts";

const STAMP = "2026-11-30T05:55:50.634696103Z";
const text = fc.string({ unit: "grapheme", maxLength: 60 }).map((each) => each.replace(/[\r\n]/g, ""));

test("lines are read whole and in order, however they come cut", () => {
  fc.assert(
    fc.property(fc.array(text), fc.integer({ min: 1, max: 40 }), (lines, size) => {
      const bytes = Buffer.from(lines.map((each) => `${STAMP} ${each}\n`).join(""));
      const reader = createPodOutputReader(null);
      const read = [];
      for (let at = 0; at < bytes.length; at += size) read.push(...reader.read(bytes.subarray(at, at + size)));
      expect([...read, ...reader.end()]).toEqual(
        lines.map((each) => ({ at: Date.parse(STAMP), stream: "STDOUT", text: each })),
      );
    }),
  );
});

test("a line that is too long is not kept to its end; the last one needs no end", () => {
  const reader = createPodOutputReader(null);
  const piece = Buffer.from("x".repeat(10_000));
  reader.read(Buffer.from(`${STAMP} `));
  for (let sent = 0; sent < 100; sent += 1) expect(reader.read(piece)).toEqual([]);
  const lines = [...reader.read(Buffer.from(`\n${STAMP} last`)), ...reader.end()];
  expect(lines.map((line) => line.text.length)).toEqual([64 * 1024 + "… (1000000 characters)".length, 4]);
});
