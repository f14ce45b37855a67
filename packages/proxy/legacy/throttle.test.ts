import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { createLineLog } from "@toolyard/bridge/child/line-log.ts";
import { createSecretMask } from "@toolyard/service-kit/secret-mask.ts";
import { eventually } from "@toolyard/testing/eventually.ts";
import { standstill } from "@toolyard/testing/turns.ts";
import { Agent } from "undici";
import { expect, test } from "vitest";
import { createMessagePaths } from "../mcp/message-paths.ts";
import { createThrottle } from "./throttle.ts";
import { openStreamChild } from "./stream-child.ts";

const ROUNDS = 5;

test("messages are read as they come for a second's worth, and no faster than they are paid for from then on", async () => {
  let now = 0;
  const throttle = createThrottle({ now: () => now });
  const leaving = new AbortController();
  const read = (events: number, bytes = 0) => throttle.keep({ bytes, events }, leaving.signal);
  expect(read(10_000)).toBeUndefined();
  const waiting = read(5_000);
  now = 499;
  const waitingToo = read(0);
  leaving.abort();
  for (const one of [waiting, waitingToo]) await expect(one).rejects.toThrow("aborted");
  now = 500;
  expect(read(0)).toBeUndefined();
  now = 1_500;
  expect(read(0, 32 * 1024 * 1024)).toBeUndefined();
  await throttle.keep({ bytes: 0, events: 1 }, new AbortController().signal);
});

test("of a server that sends messages without end no stream is read further than their common throttle lets it", async () => {
  const many = 'event: message\ndata: {"jsonrpc":"2.0","method":"x"}\n\n'.repeat(1_000);
  const flood = (stream: ServerResponse): void => void (stream.destroyed || stream.write(many, () => flood(stream)));
  const server = createServer((request, response) => {
    if (request.method === "POST") return void response.writeHead(202).end();
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write("event: endpoint\ndata: /messages\n\n");
    flood(response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const dispatcher = new Agent();
  let next = Promise.withResolvers<void>();
  const mask = createSecretMask([]);
  const log = createLineLog(() => undefined, Date.now, mask.text, null);
  const bridged = {
    target: { url, remote: false },
    headers: [],
    dispatcher: () => dispatcher,
    messagePaths: createMessagePaths(),
    throttle: {
      keep() {
        reads += 1;
        return next.promise;
      },
    },
  };
  let messages = 0;
  let reads = 0;
  const children = Array.from({ length: 4 }, () =>
    openStreamChild(bridged, "/sse", { log, mask, maxMessageBytes: 1_000, memoryKills: () => 0 }),
  );
  for (const child of children) {
    child.handle({ onMessage: () => (messages += 1), onEnd: () => undefined });
    child.send('{"jsonrpc":"2.0","id":1,"method":"ping"}');
  }
  for (let round = 0; round < ROUNDS; round += 1) {
    await standstill(() => reads);
    const { resolve } = next;
    next = Promise.withResolvers<void>();
    resolve();
  }
  await eventually("messages", () => messages > 0);
  // One read of each stream goes before its wait.
  expect(await standstill(() => reads)).toBeLessThanOrEqual((ROUNDS + 1) * children.length);
  await Promise.all(children.map((child) => child.close()));
  const before = messages;
  await dispatcher.destroy();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  expect(messages).toBe(before);
});
