import fc from "fast-check";
import { expect, test } from "vitest";
import { createEventParser, printEvent } from "./event-stream.ts";

const json = fc.json().map((text) => text.replaceAll(/[\r\n]/g, ""));

test("what is printed is read back, however it is cut on the way", () => {
  const event = fc.record({
    event: fc.constantFrom("next", "complete"),
    data: json,
    id: fc.option(fc.stringMatching(/^\w{1,9}$/), { nil: undefined }),
  });
  fc.assert(
    fc.property(fc.array(event, { maxLength: 6 }), fc.array(fc.nat(200), { maxLength: 8 }), (events, cuts) => {
      const text = events.map(printEvent).join(":\n\n");
      const places = [0, ...cuts.map((cut) => Math.min(cut, text.length)), text.length].sort(
        (one, other) => one - other,
      );
      const { feed } = createEventParser();
      const read = places.flatMap((place, index) => feed(text.slice(places[index - 1] ?? 0, place)));
      let id: string | undefined;
      expect(read).toEqual(events.map((sent) => ({ ...sent, id: (id = sent.id ?? id) })));
    }),
    { numRuns: 300 },
  );
});

test("other servers' ways of writing are read as well", () => {
  const { feed } = createEventParser();
  expect(feed("\uFEFFevent:next\r\ndata: a\r\ndata:b\r\n\r")).toEqual([]);
  expect(feed("\nretry: 5\n: beat\n\ndata\n\nevent: complete\n\n")).toEqual([
    { event: "next", data: "a\nb", id: undefined },
    { event: "message", data: "", id: undefined },
    { event: "complete", data: "", id: undefined },
  ]);
});

test("an event that never ends is given up", () => {
  const { feed } = createEventParser({ maxEventCharacters: 100 });
  feed(`data: ${"x".repeat(60)}\n`);
  expect(() => feed(`data: ${"x".repeat(60)}`)).toThrow(RangeError);
});

test("an event of many lines without anything in them is given up, too", () => {
  const { feed } = createEventParser({ maxEventCharacters: 1_000 });
  expect(() => feed("data:\n".repeat(1_000))).toThrow(RangeError);
  const { feed: feedIgnored } = createEventParser({ maxEventCharacters: 1_000 });
  expect(() => feedIgnored("retry: 1\n".repeat(1_000))).toThrow(RangeError);
});

test("a long line that comes in many parts takes time in proportion to its length", () => {
  const { feed } = createEventParser();
  feed("event: next\ndata: ");
  // Looked through again for each part, these would be a hundred thousand times sixteen million characters.
  for (let part = 0; part < 200_000; part++) feed("x".repeat(160));
  expect(feed("\n\n")[0]?.data).toHaveLength(32_000_000);
});

test("an id that would break the format is left out", () => {
  expect(printEvent({ event: "next", data: "{}", id: "1\ndata: evil" })).toBe("event: next\ndata: {}\n\n");
});
