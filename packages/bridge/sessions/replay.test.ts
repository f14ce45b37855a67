import { once } from "node:events";
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { eventually } from "@toolyard/testing/eventually.ts";
import { expect, test } from "vitest";

import { fixture, initialize, type RunningBridge, startBridge } from "../bridge.fixture.ts";
import { createExchange, type Exchange, openStream, sendAlong, sendAnswer } from "../protocol/exchange.ts";
import { createReplayMemory, type Replay } from "./replay.ts";

interface Stream {
  response: IncomingMessage;
  text(): string;
  ended: Promise<unknown>;
  leave(): void;
}

/** Sends a request of a session and reads its stream as it comes. */
async function open(
  { url }: Pick<RunningBridge, "url">,
  session: string,
  request: { body?: unknown; lastEventId?: string } = {},
): Promise<Stream> {
  const headers: Record<string, string> = {
    accept: "application/json, text/event-stream",
    "mcp-session-id": session,
    ...(request.body === undefined ? {} : { "content-type": "application/json" }),
    ...(request.lastEventId === undefined ? {} : { "last-event-id": request.lastEventId }),
  };
  const asked = httpRequest(url, { method: request.body === undefined ? "GET" : "POST", headers, agent: false });
  asked.end(request.body === undefined ? undefined : JSON.stringify(request.body));
  // `once` rejects with an error; an event has the type that Node documents.
  const [response] = (await once(asked, "response")) as [IncomingMessage];
  let text = "";
  response.on("data", (chunk) => (text += String(chunk))).on("error", () => undefined);
  // One that is left ends with an error.
  const ended = once(response, "end").catch(() => undefined);
  return { response, text: () => text, ended, leave: () => asked.destroy() };
}

const call = (name: string, args: object = {}, _meta = {}) => ({
  body: { jsonrpc: "2.0", id: 7, method: "tools/call", params: { name, arguments: args, _meta } },
});
const idsIn = (text: string): string[] => [...text.matchAll(/^id: (.+)$/gm)].map(([, id]) => id ?? "");

async function openSession(running: RunningBridge, protocolVersion: string): Promise<string> {
  const opening = initialize() as { params: object };
  const opened = await running.post({ ...opening, params: { ...opening.params, protocolVersion } });
  return opened.headers.get("mcp-session-id") ?? "";
}

test("a call that takes long is answered on a stream that its client can come back for before anything was said", async () => {
  await using running = await startBridge(fixture("server"));
  const session = await openSession(running, "2025-11-25");
  const first = await open(running, session, call("held"));
  await eventually("the stream's beginning", () => idsIn(first.text()).length === 1);
  expect(first.text()).toBe(`id: ${idsIn(first.text())[0]}\ndata:\n\n`);
  first.leave();
  await running.callTool("release", {}, session);
  const second = await open(running, session, { lastEventId: idsIn(first.text())[0] ?? "" });
  await second.ended;
  expect(second.text()).toContain('"text":"released"');
});

test("a client of an earlier version, which does not take an event without data, gets its answer alone", async () => {
  await using running = await startBridge(fixture("server"));
  const answer = await open(
    running,
    await openSession(running, "2025-06-18"),
    call("slow", { steps: 20, everyMs: 100 }),
  );
  expect(answer.response.headers["content-type"]).toBe("application/json");
});

test("events that were missed are sent once, in order, and the rest follows them, whether or not the first connection is known to be lost", async () => {
  await using running = await startBridge(fixture("server"));
  const session = await running.openSession();
  const first = await open(running, session, call("slow", { steps: 40, everyMs: 10 }, { progressToken: "p" }));
  await eventually("some events", () => idsIn(first.text()).length > 5);
  const seen = first.text().split("\n\n").slice(0, 3).join("\n\n");
  const second = await open(running, session, { lastEventId: idsIn(seen).at(-1) ?? "" });
  await eventually("its end", () => first.response.destroyed);
  await second.ended;
  const steps = [...`${seen}\n\n${second.text()}`.matchAll(/"progress":(\d+)/g)].map(([, step]) => Number(step));
  expect(steps).toEqual(Array.from({ length: 40 }, (_, index) => index + 1));
  expect(second.text()).toContain('"text":"40 steps"');
  const third = await open(running, session, { lastEventId: idsIn(second.text()).at(-2) ?? "" });
  await third.ended;
  expect(third.text().match(/^data: .*$/gm)).toEqual([expect.stringContaining('"text":"40 steps"')]);
});

test("an answer that is not kept, and an id that was never one, are refused in words", async () => {
  await using running = await startBridge(fixture("server"));
  const session = await running.openSession();
  for (const lastEventId of ["c9-1", "nonsense", "c1-1; drop"]) {
    const refused = await open(running, session, { lastEventId });
    await refused.ended;
    expect(refused.response.statusCode).toBe(400);
    expect(refused.text()).toContain("no event with this id");
  }
  const anew = await open(running, session, { lastEventId: "g9-1" });
  expect(anew.response.statusCode).toBe(200);
  anew.leave();
});

/** Exchanges on real responses, whose clients left at once. */
async function withExchanges(
  use: (left: (keeper: Replay, outstanding?: number) => Promise<Exchange>) => Promise<void>,
) {
  const responses: ((response: ServerResponse) => void)[] = [];
  const server = createServer((_request, response) => responses.shift()?.(response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A TCP server's address is never a pipe's string.
  const { port } = server.address() as AddressInfo;
  try {
    await use(async (keeper, outstanding = 1) => {
      const arrived = new Promise<ServerResponse>((resolve) => responses.push(resolve));
      const client = httpRequest({ port, host: "127.0.0.1", agent: false }).on("error", () => undefined);
      client.end();
      const response = await arrived;
      const exchange = createExchange(response, { streamable: true, outstanding, keeper });
      openStream(exchange);
      client.destroy();
      await once(response, "close");
      return exchange;
    });
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

const nobody = {} as ServerResponse;

test("of a session's events the newest are kept, one of any length among them; of all sessions' those of the largest go first", async () => {
  await withExchanges(async (left) => {
    const memory = createReplayMemory({ now: () => 0 });
    const small = memory.create(() => true);
    const kept = await left(small);
    sendAnswer(kept, "small");
    const large = memory.create(() => true);
    const lost = await left(large);
    sendAnswer(lost, "x".repeat(1024 * 1024));
    const newest = await left(large);
    sendAnswer(newest, "x".repeat(8 * 1024 * 1024));
    expect(large.resume("c1-0", nobody)).toBe("gone");
    const others = Array.from({ length: 4 }, () => memory.create(() => true));
    for (const other of others) sendAlong(await left(other), "x".repeat(7 * 1024 * 1024));
    expect(large.resume("c2-0", nobody)).toBe("gone");
    expect(() => small.resume("c1-0", nobody)).toThrow("writeHead");
    for (const other of others) expect(() => other.resume("c1-0", nobody)).toThrow("writeHead");
  });
});

test("events are forgotten with time: then an answer is gone, and a stream of messages begins anew", async () => {
  await withExchanges(async (left) => {
    const replay = createReplayMemory({ now: () => 5 }).create(() => true);
    sendAnswer(await left(replay), "answer");
    sendAlong(await left(replay, Number.POSITIVE_INFINITY), "change");
    replay.sweep(5);
    expect(() => replay.resume("c1-0", nobody)).toThrow("writeHead");
    replay.sweep(6);
    expect(replay.resume("c1-0", nobody)).toBe("gone");
    expect(replay.resume("g2-0", nobody)).toBe("new");
  });
});
