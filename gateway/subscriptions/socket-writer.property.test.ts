import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import fc from "fast-check";
import { turns } from "@toolyard/testing/turns.ts";
import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { createSocketWriters, type SocketWriter } from "./socket-writer.ts";

const server = createServer();
const sockets = new WebSocketServer({ noServer: true });
let client: WebSocket;
let writer: SocketWriter;
const received: string[] = [];

beforeAll(async () => {
  const writers = createSocketWriters({ heartbeatMs: 10_000, stalledMs: 60_000, now: Date.now });
  const upgraded = new Promise<void>((resolve) => {
    server.on("upgrade", (request, connection, head) =>
      sockets.handleUpgrade(request, connection, head, (socket) => {
        writer = writers.create(socket, connection);
        resolve();
      }),
    );
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  // `listen` on a TCP port answers an AddressInfo.
  client = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
  client.on("message", (data: Buffer, isBinary) => received.push(isBinary ? "binary" : data.toString("utf8")));
  await Promise.all([once(client, "open"), upgraded]);
});
afterAll(() => {
  client.terminate();
  server.close();
});

test("messages arrive whole and in order, of whatever length, in one part or two, with pings in between", async () => {
  // Around the lengths at which frames are written otherwise.
  const length = fc.oneof(
    fc.nat(300),
    ...[125, 126, 4_096, 65_535, 65_536].map((about) => fc.integer({ min: about - 20, max: about + 20 })),
  );
  const message = fc.record({
    kind: fc.constantFrom("whole", "parts", "parts", "ping"),
    begin: fc.string({ unit: "grapheme", maxLength: 20 }),
    length,
    isLater: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(message, { maxLength: 12 }), async (messages) => {
      received.length = 0;
      const expected: string[] = [];
      for (const { kind, begin, length: rest, isLater } of messages) {
        if (kind === "ping") {
          writer.beat();
          continue;
        }
        const content = "é".repeat(rest / 2);
        expected.push(begin + content);
        const room = kind === "parts" ? writer.sendParts(begin, Buffer.from(content)) : writer.send(begin + content);
        if (isLater) await room;
      }
      while (received.length < expected.length) await turns(1);
      expect(received).toEqual(expected);
    }),
    { numRuns: 200 },
  );
});
