import fc from "fast-check";
import { expect, test } from "vitest";
import { ByteCollector, collectBytes } from "./byte-collector.ts";

const parts = fc.array(fc.uint8Array({ maxLength: 3_000 }), { maxLength: 50 });

test("any parts are joined to the same bytes, and what is held is bounded by them", () => {
  fc.assert(
    fc.property(parts, fc.array(fc.boolean()), (given, copied) => {
      const collector = new ByteCollector();
      given.forEach((part, at) => {
        const bytes = Buffer.from(part);
        if (!copied[at]) return collector.add(bytes);
        const reused = Buffer.concat([Buffer.from("before"), bytes, Buffer.from("after")]);
        collector.copy(reused, 6, 6 + bytes.length);
        reused.fill(0);
      });
      const all = Buffer.concat(given);
      expect(collector.length).toBe(all.length);
      expect(collector.peek().equals(all)).toBe(true);
      const taken = collector.take();
      expect(taken.equals(all)).toBe(true);
      expect([collector.length, collector.take().length]).toEqual([0, 0]);
      collector.add(Buffer.from("anew"));
      expect([taken.equals(all), collector.take().toString()]).toEqual([true, "anew"]);
    }),
  );
});

test("half a million parts of a byte are in one buffer of less than twice their bytes", () => {
  const collector = new ByteCollector();
  const buffers = new Set<ArrayBufferLike>();
  for (let at = 0; at < 500_000; at++) {
    collector.add(Buffer.from([at]));
    buffers.add(collector.peek().buffer);
  }
  const all = collector.take();
  expect(all.equals(Buffer.from(Array.from({ length: 500_000 }, (_, at) => at)))).toBe(true);
  expect(all.buffer.byteLength).toBeLessThan(1_000_000);
  // Doubled each time: else each part would copy all before it.
  expect(buffers.size).toBeLessThan(20);
});

test("a part alone is not copied, and room is made at once for what is expected", () => {
  const collector = new ByteCollector();
  const only = Buffer.from("only");
  collector.add(only);
  expect(collector.take()).toBe(only);
  collector.copy(only, 0, 1, 4_000);
  const { buffer } = collector.peek();
  collector.copy(Buffer.alloc(3_999));
  expect(collector.peek().buffer).toBe(buffer);
});

test("a stream is collected, and refused once it is longer than may be", async () => {
  const source = async function* () {
    yield* [Buffer.from("one"), new Uint8Array(Buffer.from("two"))];
  };
  const tooLong = () => new Error("too long");
  expect((await collectBytes(source(), 6, tooLong)).toString()).toBe("onetwo");
  await expect(collectBytes(source(), 5, tooLong)).rejects.toThrow("too long");
});
