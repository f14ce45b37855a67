import fc from "fast-check";
import { expect, test } from "vitest";
import { createOutputReader } from "./container-output.ts";

const STAMP = "2026-11-30T05:55:50.634696103Z";

function frame(stream: 1 | 2, text: string): Buffer {
  const body = Buffer.from(text);
  const header = Buffer.alloc(8);
  header[0] = stream;
  header.writeUInt32BE(body.length, 4);
  return Buffer.concat([header, body]);
}

const text = fc.string({ unit: "grapheme" }).map((each) => each.replace(/[\r\n]/g, ""));

test("lines are read whole and in order, however they come cut", () => {
  const line = fc.record({ stream: fc.constantFrom<1 | 2>(1, 2), text });
  fc.assert(
    fc.property(fc.array(line), fc.integer({ min: 1, max: 40 }), (lines, size) => {
      const bytes = Buffer.concat(lines.map((each) => frame(each.stream, `${STAMP} ${each.text}\n`)));
      const reader = createOutputReader(null);
      const read = [];
      for (let at = 0; at < bytes.length; at += size) read.push(...reader.read(bytes.subarray(at, at + size)));
      expect([...read, ...reader.end()]).toEqual(
        lines.map((each) => ({
          at: Date.parse(STAMP),
          stream: each.stream === 2 ? "STDERR" : "STDOUT",
          text: each.text,
        })),
      );
    }),
  );
});

test("a line that an engine sends in pieces, each with its time, is one line; one that is too long is cut; the last one needs no end", () => {
  const reader = createOutputReader(null);
  const piece = "x".repeat(40_000);
  const pieces = [`${STAMP} ${piece}`, `${STAMP} ${piece}`, `${STAMP} end\n`, `${STAMP} last`];
  const lines = [...pieces.flatMap((each) => reader.read(frame(1, each))), ...reader.end()];
  expect(lines.map((each) => each.text.length)).toEqual([64 * 1024 + "… (80003 characters)".length, 4]);
  expect(lines[0]?.text).toMatch(/^x+… \(80003 characters\)$/);
});
