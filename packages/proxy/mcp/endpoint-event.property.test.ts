import { createParser } from "eventsource-parser";
import fc from "fast-check";
import { expect, test } from "vitest";
import { createEndpointFilter } from "./endpoint-event.ts";

const line = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.constantFrom("event: endpoint", "event:endpoint", "data: /messages?é=1", "data:http://a/b"),
  },
  { weight: 2, arbitrary: fc.constant("") },
  fc.constantFrom(
    ": ping",
    "retry: 100",
    "event: message",
    "event",
    "data: {}",
    "data",
    "id: 1",
    "data: event: endpoint",
  ),
);
const streams = fc
  .record({
    mark: fc.constantFrom("", "", "\ufeff"),
    lines: fc.array(fc.tuple(line, fc.constantFrom("\n", "\r\n", "\r")), { maxLength: 20 }),
  })
  .map(({ mark, lines }) => mark + lines.flat().join(""));

function filtered(stream: string, length: number): Buffer {
  const filter = createEndpointFilter((endpoint) => `/route${endpoint.replaceAll("\n", "|")}`);
  const bytes = Buffer.from(stream);
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += length)
    parts.push(filter.push(bytes.subarray(at, at + length)) ?? Buffer.alloc(0));
  parts.push(filter.end() ?? Buffer.alloc(0));
  return Buffer.concat(parts);
}

/** As a client reads it. */
function eventsOf(stream: Buffer): { event: string | undefined; data: string }[] {
  const events: ReturnType<typeof eventsOf> = [];
  const parser = createParser({
    onEvent: ({ event, data }) => events.push({ event, data: Buffer.from(data, "latin1").toString() }),
  });
  parser.feed(stream.toString("latin1"));
  return events;
}

test("every endpoint that a client reads is at the route, and all else as it was, however lines end and the stream is cut", () => {
  fc.assert(
    fc.property(streams, fc.integer({ min: 1, max: 30 }), (stream, length) => {
      const expected = eventsOf(Buffer.from(stream)).map(({ event, data }) => ({
        event,
        data: event === "endpoint" ? `/route${data.replaceAll("\n", "|")}` : data,
      }));
      expect(eventsOf(filtered(stream, length))).toEqual(expected);
    }),
    { numRuns: 5_000 },
  );
});

test("a stream without such an event is the same to the byte", () => {
  const stream = `\ufeff: é\r\n\r\nevent: message\ndata: {}\n\n\r\rdata: ${"x".repeat(200_000)}\n\n: end`;
  expect(filtered(stream, 1_000).equals(Buffer.from(stream))).toBe(true);
});

test("an endpoint that is too long to be one reaches nobody as it is, wherever its event says what it is", () => {
  const long = `data: ${"x".repeat(200_000)}\n`;
  for (const event of [
    `event: endpoint\n${long}\n`,
    `${long}event: endpoint\n\n`,
    `${long}event: endpoint\ndata: /x\n\n`,
  ])
    for (const length of [1, 1_000, 500_000]) {
      const [first, ...others] = eventsOf(filtered(`data: {}\n\n${event}data: {}\n\n`, length));
      expect(first).toEqual({ event: undefined, data: "{}" });
      expect(others.filter(({ event, data }) => event === "endpoint" && !data.startsWith("/route"))).toEqual([]);
    }
});
