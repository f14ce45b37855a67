import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { createLineLog } from "@toolyard/bridge/child/line-log.ts";
import { createSecretMask } from "@toolyard/service-kit/secret-mask.ts";
import { eventually } from "@toolyard/testing";
import { Agent } from "undici";
import { expect, test } from "vitest";
import { createMessagePaths } from "../mcp/message-paths.ts";
import { createThrottle } from "./throttle.ts";
import { openStreamChild } from "./stream-child.ts";

test("a server that sends messages without end has them read at a bounded pace, over all its streams", async () => {
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
  const mask = createSecretMask([]);
  const log = createLineLog(() => undefined, Date.now, mask.text, null);
  const bridged = {
    target: { url, remote: false },
    headers: [],
    dispatcher: () => dispatcher,
    messagePaths: createMessagePaths(),
    throttle: createThrottle(),
  };
  let messages = 0;
  const started = performance.now();
  const children = Array.from({ length: 4 }, () =>
    openStreamChild(bridged, "/sse", { log, mask, maxMessageBytes: 1_000 }),
  );
  for (const child of children) {
    child.handle({ onMessage: () => (messages += 1), onEnd: () => undefined });
    child.send('{"jsonrpc":"2.0","id":1,"method":"ping"}');
  }
  await eventually("many messages", () => messages >= 30_000);
  // A second's worth comes at once; and a read of each stream goes before its wait.
  expect(performance.now() - started).toBeGreaterThan(1_000);
  await Promise.all(children.map((child) => child.close()));
  const before = messages;
  await dispatcher.destroy();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  expect(messages).toBe(before);
});
