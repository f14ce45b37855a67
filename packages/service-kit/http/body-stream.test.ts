import { IncomingMessage } from "node:http";
import { Socket } from "node:net";
import { buffer } from "node:stream/consumers";
import { heapGrownBy } from "@toolyard/testing/heap.ts";
import fc from "fast-check";
import { expect, test } from "vitest";
import { bodyStream } from "./body-stream.ts";

const turn = () => new Promise(setImmediate);

test("a body goes on as it came, however it comes, and whenever it is read", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ part: fc.uint8Array({ maxLength: 40_000 }), pauses: fc.boolean() }), { maxLength: 12 }),
      fc.nat(12),
      async (parts, readFrom) => {
        const request = new IncomingMessage(new Socket());
        let seen = 0;
        const stream = bodyStream(request, ({ length }) => (seen += length));
        let read: Promise<Buffer> | null = null;
        for (const [at, { part, pauses }] of parts.entries()) {
          if (at === readFrom) read = buffer(stream);
          request.push(Buffer.from(part));
          if (pauses) await turn();
        }
        request.push(null);
        const all = Buffer.concat(parts.map(({ part }) => part));
        expect((await (read ?? buffer(stream))).equals(all)).toBe(true);
        expect(seen).toBe(all.length);
      },
    ),
    { numRuns: 50 },
  );
});

test("what waits for a reader is joined, and the request pauses once there is enough of it", async () => {
  const request = new IncomingMessage(new Socket());
  const stream = bodyStream(request);
  stream.read();
  await turn();
  // Each by itself has five megabytes.
  const grownBy = await heapGrownBy(() => {
    for (let at = 0; at < 60_000; at++) request.push(Buffer.from([at]));
  });
  expect(grownBy).toBeLessThan(1_500_000);
  expect(request.isPaused()).toBe(false);
  request.push(Buffer.alloc(10_000));
  expect(request.isPaused()).toBe(true);
  let read = 0;
  stream.on("data", ({ length }: Buffer) => (read += length));
  request.push(null);
  await expect.poll(() => read).toBe(70_000);
  await expect.poll(() => stream.readableEnded).toBe(true);
});

test("destroyed, the rest of the request is dropped, also where it had paused", async () => {
  const request = new IncomingMessage(new Socket());
  const stream = bodyStream(request);
  stream.read();
  await turn();
  request.push(Buffer.alloc(1));
  request.push(Buffer.alloc(80_000));
  expect(request.isPaused()).toBe(true);
  stream.destroy(new Error("enough"));
  request.push(Buffer.alloc(80_000));
  request.push(null);
  await expect.poll(() => request.readableEnded).toBe(true);
  expect([request.listenerCount("data"), request.listenerCount("end")]).toEqual([0, 0]);
});
