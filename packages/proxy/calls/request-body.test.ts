import { IncomingMessage } from "node:http";
import { Socket } from "node:net";
import { heapGrownBy } from "@toolyard/testing/heap.ts";
import { expect, test } from "vitest";
import { createEventFilter, createJsonFilter } from "../mcp/round-trips.ts";
import { createBudget } from "./budget.ts";
import { readWholeBody, streamBody, type RequestBody } from "./request-body.ts";

const PARTS = 200_000;
/** A list of as many parts has more than twenty megabytes. */
const MAX_HEAP_BYTES = 6_000_000;

const refuse = () => expect.unreachable();

/** Pushes parts of a byte. */
function pushTo(push: (part: Buffer) => unknown, parts = PARTS): () => void {
  return () => {
    for (let at = 0; at < parts; at++) push(Buffer.from("x"));
  };
}

test("a whole body in parts of a byte takes little more room than its bytes", async () => {
  const request = new IncomingMessage(new Socket());
  const read = Promise.withResolvers<RequestBody>();
  readWholeBody(request, read.resolve, { maxBytes: PARTS, onTooLarge: refuse });
  await new Promise(setImmediate);
  expect(await heapGrownBy(pushTo((part) => request.push(part)))).toBeLessThan(MAX_HEAP_BYTES);
  request.push(null);
  expect((await read.promise).content).toEqual(Buffer.alloc(PARTS, "x"));
});

test("the beginning of a streamed one, too", async () => {
  const request = new IncomingMessage(new Socket());
  const { content, beginning } = streamBody(request, PARTS, refuse);
  if (content === null || Buffer.isBuffer(content)) return expect.unreachable();
  content.resume();
  await new Promise(setImmediate);
  const grownBy = await heapGrownBy(async () => {
    for (let round = 0; round < 100; round++) {
      pushTo((part) => request.push(part), 1_000)();
      await new Promise(setImmediate);
    }
  });
  expect(grownBy).toBeLessThan(1_500_000);
  expect(beginning()).toBe("x".repeat(64 * 1024));
});

test.each([
  ["an answer in JSON", createJsonFilter],
  ["an event", createEventFilter],
])("%s that is held takes little more room than its bytes", async (_what, create) => {
  const filter = create(() => "", createBudget(PARTS));
  expect(await heapGrownBy(pushTo((part) => filter.push(part)))).toBeLessThan(MAX_HEAP_BYTES);
  expect(filter.end()).toEqual(Buffer.alloc(PARTS, "x"));
});
