import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { createLineLog } from "@toolyard/bridge/child/line-log.ts";
import { createSecretMask } from "@toolyard/service-kit/secret-mask.ts";
import { eventually } from "@toolyard/testing/eventually.ts";
import { Agent } from "undici";
import { expect, test } from "vitest";
import { createMessagePaths } from "../mcp/message-paths.ts";
import { openStreamChild } from "./stream-child.ts";

/**
 * A child whose server sends these events at once, and what was read of them when the last one, which is added, has come or the child has ended.
 * @param takes Whether the server answers POST.
 */
async function readAll(events: readonly string[], takes = true) {
  let stream: ServerResponse | null = null;
  const server = createServer((request, response) => {
    if (request.method === "POST") {
      if (takes) response.writeHead(202).end();
      for (const event of [...events, '{"jsonrpc":"2.0","method":"last"}']) stream?.write(`data: ${event}\n\n`);
      return;
    }
    stream = response.writeHead(200, { "content-type": "text/event-stream" });
    stream.write("event: endpoint\ndata: /messages\n\n");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const dispatcher = new Agent();
  const mask = createSecretMask([]);
  const seen = { lines: [] as string[], masked: 0, methods: [] as unknown[], charged: 0, reason: "" };
  const hide = (text: string): string => {
    seen.masked += text.length;
    return text;
  };
  const child = openStreamChild(
    {
      target: { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, remote: false },
      headers: [],
      dispatcher: () => dispatcher,
      messagePaths: createMessagePaths(),
      throttle: {
        keep(read) {
          seen.charged += read.events;
          return undefined;
        },
      },
    },
    "/sse",
    {
      log: createLineLog((line) => seen.lines.push(line), Date.now, hide, null),
      mask,
      maxMessageBytes: 10_000_000,
      memoryKills: () => 0,
    },
  );
  child.handle({
    onMessage({ id, method }) {
      seen.methods.push(method);
      if (id !== undefined) child.send(JSON.stringify({ jsonrpc: "2.0", id, result: {} }));
    },
    onEnd: ({ reason }) => (seen.reason = reason),
  });
  child.send('{"jsonrpc":"2.0","method":"begin"}');
  await eventually("the last event", () => seen.reason !== "" || seen.methods.includes("last"));
  await child.close();
  await dispatcher.destroy();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  return seen;
}

test("events that are no messages are logged like lines of a process: so many a second, and so many characters", async () => {
  const short = await readAll(Array<string>(3_000).fill("no message"));
  expect(short.lines.length).toBeGreaterThan(1_000);
  expect(short.lines.length).toBeLessThan(2_500);
  expect(short.lines.at(-1)).toMatch(/\d+ events of the server within a second are left out/);
  const long = await readAll(Array<string>(12).fill("x".repeat(2_000_000)));
  expect(long.masked).toBeLessThan(20_000_000);
});

test("lists that are no batches are neither parsed nor logged item by item", async () => {
  const { lines, masked, methods } = await readAll([`[${"1,".repeat(1_000_000)}1]`]);
  expect(methods).toEqual(["last"]);
  expect(lines).toHaveLength(1);
  expect(masked).toBeLessThan(1_000);
});

test("each message of a batch is charged to the throttle", async () => {
  const batch = `[${Array<string>(100).fill('{"jsonrpc":"2.0","method":"x"}').join(",")}]`;
  const { charged, methods } = await readAll(Array<string>(5).fill(batch));
  expect(methods).toHaveLength(501);
  expect(charged).toBeGreaterThanOrEqual(501);
});

test("a server that asks on and on and takes no answers is given up, and its questions are not kept", async () => {
  const pings = Array<string>(1_100).fill('{"jsonrpc":"2.0","id":1,"method":"ping"}');
  const { reason, methods } = await readAll(pings, false);
  expect(reason).toBe("the stream to the server failed: it does not take the messages that are sent to it");
  expect(methods.length).toBeLessThan(1_100);
});
