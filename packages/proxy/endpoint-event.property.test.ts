import fc from "fast-check";
import { expect, test } from "vitest";
import { createEndpointFilter } from "./endpoint-event.ts";

const breaks = fc.constantFrom("\n", "\r\n", "\r");
const before = fc.array(fc.constantFrom(": ping", "retry: 100", ""), { maxLength: 3 });
const rest = fc.array(fc.constantFrom("event: endpoint", "data: /other", "event: message", "data: {}", "", ": x"), {
  maxLength: 8,
});

function filtered(stream: string, length: number): string {
  const filter = createEndpointFilter((endpoint) => `/route${endpoint}`);
  const bytes = Buffer.from(stream);
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += length)
    parts.push(filter.push(bytes.subarray(at, at + length)) ?? Buffer.alloc(0));
  parts.push(filter.end() ?? Buffer.alloc(0));
  return Buffer.concat(parts).toString();
}

test("the first event's endpoint, and no other, is at the route, however lines end and the stream is cut", () => {
  fc.assert(
    fc.property(
      before,
      rest,
      breaks,
      fc.integer({ min: 1, max: 30 }),
      fc.boolean(),
      (first, more, end, length, swapped) => {
        const stream = (endpoint: string) => {
          const event = ["event: endpoint", `data: ${endpoint}`];
          return [...first, "", ...(swapped ? event.toReversed() : event), "", ...more, ""].join(end);
        };
        expect(filtered(stream("/messages?é=1"), length)).toBe(stream("/route/messages?é=1"));
      },
    ),
    { numRuns: 1_000 },
  );
});

test("a stream that begins with another event goes on as it is", () => {
  const stream = "event: message\ndata: {}\n\nevent: endpoint\ndata: /x\n\n";
  expect(filtered(stream, 3)).toBe(stream);
  const long = `event: endpoint\ndata: ${"x".repeat(200_000)}\n\n`;
  expect(filtered(long, 1_000)).toBe(long);
});
