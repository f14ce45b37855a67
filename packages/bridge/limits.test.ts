import { rm, writeFile } from "node:fs/promises";
import { mkdtempSync } from "node:fs";
import { once } from "node:events";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "@toolyard/testing/eventually.ts";
import { afterEach, describe, expect, onTestFinished, test, vi } from "vitest";

import { MAX_ASKED } from "./protocol/json-rpc.ts";
import { MAX_WATCHED } from "./protocol/watched.ts";
import { fixture, initialize, type RunningBridge, startBridge, stateless } from "./bridge.fixture.ts";

/** Kept with their responses: fetch closes what is not referred to any more. */
const streams: { controller: AbortController; response: Response }[] = [];
afterEach(() => {
  for (const { controller } of streams.splice(0)) controller.abort();
});

const as = (user: string) => ({ "x-toolyard-user": user });

async function openAs(running: RunningBridge, user: string, name = "test"): Promise<string> {
  const { params, ...rest } = initialize({ roots: {} }) as { params: Record<string, unknown> };
  const answer = await running.post({ ...rest, params: { ...params, clientInfo: { name, version: "1" } } }, as(user));
  const session = answer.headers.get("mcp-session-id");
  if (session === null || answer.messages[0]?.error !== undefined)
    throw new Error(`${answer.status}: ${answer.messages[0]?.error?.message ?? "no session"}`);
  return session;
}

async function eventuallyOpen(running: RunningBridge, user: string): Promise<string> {
  let session = "";
  await eventually("a session", async () => {
    session = await openAs(running, user).catch(() => "");
    return session !== "";
  });
  return session;
}

/** Opens the stream of a session, as clients do that wait for what the server tells them. */
async function listen(running: RunningBridge, session: string): Promise<void> {
  const controller = new AbortController();
  const response = await fetch(running.url, {
    headers: { accept: "text/event-stream", "mcp-session-id": session },
    signal: controller.signal,
  });
  streams.push({ controller, response });
  expect(response.status).toBe(200);
}

const isOpen = async (running: RunningBridge, session: string) =>
  (await running.post({ jsonrpc: "2.0", id: 1, method: "ping" }, { "mcp-session-id": session })).status === 200;

describe("who ends servers", () => {
  test.each(["by a tool", "by a bare call", "by a stateless call", "by what they say at initialize"])(
    "waits ever longer, %s, and nobody else does",
    async (how) => {
      await using running = await startBridge(fixture("server"));
      const die = { name: "die", arguments: {} };
      const end = async (): Promise<string> => {
        if (how === "by what they say at initialize") return openAs(running, "mallory", "poison");
        if (how === "by a tool") {
          const session = await openAs(running, "mallory");
          return running.callTool("die", {}, session);
        }
        const { messages } =
          how === "by a bare call"
            ? await running.post({ jsonrpc: "2.0", id: 1, method: "tools/call", params: die }, as("mallory"))
            : await running.post(...post(stateless("tools/call", die, { user: "mallory" })));
        throw new Error(messages.at(-1)?.error?.message);
      };
      const post = ({ body, headers }: ReturnType<typeof stateless>) => [body, headers] as const;
      const said: string[] = [];
      for (let n = 0; n < 8; n += 1) {
        said.push(await end().catch((error: unknown) => String(error)));
        const session = await openAs(running, "alice");
        expect(await running.callTool("echo", { message: "hi" }, session)).toBe("hi");
        await running.post({ jsonrpc: "2.0", id: 2, method: "ping" }, { "mcp-session-id": session });
        const call = stateless("tools/call", { name: "echo", arguments: { message: "ho" } }, { user: "alice" });
        expect((await running.post(...post(call))).messages.at(-1)?.result?.content?.[0]?.text).toBe("ho");
      }
      expect(said.some((text) => /several times at your calls; try again in \d+ s/.test(text))).toBe(true);
      await eventually("a healthy bridge", () => running.bridge.health().ok);
    },
  );

  test("nobody waits for the bridge's own starts where somebody's server runs", async () => {
    await using running = await startBridge(fixture("server", "needs-roots"));
    const refused = () => running.log.filter(({ text }) => text.includes("exited with code 5")).length;
    const alice = await eventuallyOpen(running, "alice");
    await eventually("starts of the bridge's own that fail", () => refused() >= 3);
    for (let n = 0; n < 3; n += 1) {
      const session = await openAs(running, "bob");
      expect(await running.callTool("echo", { message: "hi" }, session)).toBe("hi");
    }
    expect(await isOpen(running, alice)).toBe(true);
  });

  test.each(["stateless", "bare"])("of a server that all share wait before the next %s call", async (how) => {
    await using running = await startBridge(fixture("server"), { sessions: "shared" });
    const by = (user: string, name: string) => {
      const params = { name, arguments: { message: "hi" } };
      const call = stateless("tools/call", params, { user });
      if (how === "stateless") return running.post(call.body, call.headers);
      return running.post({ jsonrpc: "2.0", id: 1, method: "tools/call", params }, as(user));
    };
    const said: string[] = [];
    for (let n = 0; n < 6; n += 1) {
      said.push((await by("mallory", "die")).messages.at(-1)?.error?.message ?? "");
      expect((await by("alice", "echo")).messages.at(-1)?.result?.content?.[0]?.text).toBe("hi");
    }
    expect(said.some((text) => text.includes("several times at your calls"))).toBe(true);
  });

  test("of a server that all sessions share wait before the next session, and nobody else does", async () => {
    await using running = await startBridge(fixture("server"), { sessions: "shared" });
    const said: string[] = [];
    for (let n = 0; n < 6; n += 1) {
      const end = async () => running.callTool("die", {}, await openAs(running, "mallory"));
      said.push(await end().catch((error: unknown) => String(error)));
      const session = await eventuallyOpen(running, "alice");
      expect(await running.callTool("echo", { message: "hi" }, session)).toBe("hi");
    }
    expect(said.some((text) => text.includes("several times at your calls"))).toBe(true);
    await expect(openAs(running, "alice")).resolves.toBeDefined();
  });

  test("and are not named, are not taken for the server itself", async () => {
    await using running = await startBridge(fixture("server"));
    const call = (name: string) => running.callTool(name, { message: "hi" });
    for (let n = 0; n < 6; n += 1) {
      await eventually("an end", () =>
        call("die").then(
          () => false,
          (error: Error) => /code 7/.test(error.message),
        ),
      );
      // At the first try.
      expect(await running.callTool("echo", { message: "hi" }, await openAs(running, "alice"))).toBe("hi");
    }
  });

  test("are forgiven", async () => {
    let time = 1_000_000;
    await using running = await startBridge(fixture("server"), { now: () => time });
    for (let n = 0; n < 2; n += 1) {
      const session = await openAs(running, "mallory");
      await expect(running.callTool("die", {}, session)).rejects.toThrow("exited with code 7");
    }
    await expect(openAs(running, "mallory")).rejects.toThrow("several times at your calls");
    time += 1_000;
    expect(await running.callTool("echo", { message: "again" }, await openAs(running, "mallory"))).toBe("again");
  });
});

describe("as many sessions as may be", () => {
  test("a session with an open stream is not idle: another is closed, however lately it was used", async () => {
    await using running = await startBridge(fixture("server"), { maxSessions: 2 });
    const first = await openAs(running, "");
    await listen(running, first);
    const second = await openAs(running, "");
    const third = await openAs(running, "");
    expect(await Promise.all([first, second, third].map((session) => isOpen(running, session)))).toEqual([
      true,
      false,
      true,
    ]);
  });

  test("where none is idle the new one is refused in words, about its own request, and none is closed", async () => {
    await using running = await startBridge(fixture("server"), { maxSessions: 2 });
    const sessions = [await openAs(running, "a"), await openAs(running, "b")];
    for (const session of sessions) await listen(running, session);
    const refused = await running.post({ ...initialize(), id: "mine" }, as("c"));
    expect(refused.status).toBe(503);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(refused.messages).toEqual([
      { jsonrpc: "2.0", id: "mine", error: { code: -32000, message: "all 2 sessions are in use; try again later" } },
    ]);
    for (const session of sessions) expect(await isOpen(running, session)).toBe(true);
  });

  test("one caller has three quarters of them at most, and closes none but their own", async () => {
    await using running = await startBridge(fixture("server"), { maxSessions: 4 });
    const alice = await openAs(running, "alice");
    const own = [];
    for (let n = 0; n < 5; n += 1) own.push(await openAs(running, "mallory"));
    expect(await Promise.all(own.map((session) => isOpen(running, session)))).toEqual([false, false, true, true, true]);
    for (const session of own.slice(2)) await listen(running, session);
    await expect(openAs(running, "mallory")).rejects.toThrow("all 3 sessions that one caller may have are in use");
    expect(await isOpen(running, alice)).toBe(true);
    await running.post({ jsonrpc: "2.0", id: 1, method: "ping" }, { "mcp-session-id": alice });
    await fetch(running.url, { method: "DELETE", headers: { "mcp-session-id": alice } });
    expect(await isOpen(running, await openAs(running, "bob"))).toBe(true);
  });

  test("are those that memory is there for", async () => {
    let hasRoom = true;
    await using running = await startBridge(fixture("server"), { memory: { room: () => (hasRoom ? 100 : 0) } });
    const [first, second] = [await openAs(running, ""), await openAs(running, "")];
    await listen(running, first);
    await listen(running, second);
    hasRoom = false;
    await eventually("a refusal", async () => {
      const { status, messages } = await running.post(initialize({ roots: {} }));
      return status === 503 && /no memory for another process/.test(messages[0]?.error?.message ?? "");
    });
    expect(await isOpen(running, first)).toBe(true);
    expect(await isOpen(running, second)).toBe(true);
  });

  test("one caller does not take all that memory is there for", async () => {
    let room = 4;
    await using running = await startBridge(fixture("server"), { memory: { room: () => room } });
    for (; room > 1; room -= 1) await listen(running, await openAs(running, "mallory"));
    await expect(openAs(running, "mallory")).rejects.toThrow("all 3 sessions that one caller may have are in use");
    await openAs(running, "bob");
  });

  test("that a machine without much memory has room for", async () => {
    await using running = await startBridge(fixture("server"), { memoryMb: 150 });
    const opened: string[] = [];
    const refusal = await (async () => {
      for (let n = 0; n < 30; n += 1) {
        const session = await openAs(running, "").catch((error: unknown) => String(error));
        if (session.startsWith("Error")) return session;
        await listen(running, session);
        opened.push(session);
      }
      return null;
    })();
    expect(refusal).toContain("there is no memory for another process of the server");
    for (const session of opened) expect(await isOpen(running, session)).toBe(true);
  });
});

describe("a probe", () => {
  const probe = (running: RunningBridge) =>
    running.post({ jsonrpc: "2.0", id: 1, method: "tools/list" }, { "x-toolyard-probe": "1" });

  async function startGated(options: Parameters<typeof startBridge>[1] = {}) {
    const folder = mkdtempSync(join(tmpdir(), "bridge-gate-"));
    const gate = join(folder, "open");
    await writeFile(gate, "");
    const running = await startBridge(fixture("server", `waits-for:${gate}`), options);
    await eventually("a healthy bridge", () => running.bridge.health().ok);
    return {
      running,
      shut: () => rm(gate),
      open: () => writeFile(gate, ""),
      async [Symbol.asyncDispose]() {
        await running[Symbol.asyncDispose]();
        await rm(folder, { recursive: true });
      },
    };
  }

  test("asks what runs, and nothing else has to start for it, however long that would take", async () => {
    await using gated = await startGated();
    const { running } = gated;
    // It takes the child that was there.
    const session = await running.openSession();
    await gated.shut();
    expect((await probe(running)).messages[0]?.result).toMatchObject({ state: "answered" });
    const call = running.callTool("slow", { steps: 30 }, session);
    await eventually("a call in flight", async () => {
      const { status, messages } = await probe(running);
      expect(status).toBe(200);
      return messages[0]?.result?.state === "busy";
    });
    expect(await call).toBe("30 steps");
    expect((await probe(running)).messages[0]?.result).toMatchObject({ state: "answered" });
    expect(running.log.filter(({ stream }) => stream === "SYSTEM")).toEqual([]);
  });

  test("gives a start the time that starts have", async () => {
    let time = 1_000_000;
    await using gated = await startGated({ startTimeoutSeconds: 60, now: () => time });
    const { running } = gated;
    const session = await running.openSession();
    await gated.shut();
    await fetch(running.url, { method: "DELETE", headers: { "mcp-session-id": session } });
    const stateOf = async () => {
      const { status, messages } = await probe(running);
      return messages[0]?.result?.state ?? `${status}: ${messages[0]?.error?.message}`;
    };
    expect(await stateOf()).toBe("starting");
    time += 59_000;
    expect(await stateOf()).toBe("starting");
    time += 2_000;
    expect(await stateOf()).toBe("503: the server has not answered initialize within 60 s (startTimeoutSeconds)");
    await gated.open();
    await eventually("an answer", async () => (await stateOf()) === "answered");
  });

  test.each(["both-eras", "stateless-only"])("asks servers of the stateless revision in it: %s", async (name) => {
    await using running = await startBridge(fixture(name));
    await eventually("a healthy bridge", () => running.bridge.health().ok);
    const { body, headers } = stateless("tools/list", {}, { user: "alice" });
    expect((await running.post(body, headers)).status).toBe(200);
    expect((await probe(running)).messages[0]?.result).toMatchObject({ state: "answered" });
  });

  test("hears what the server says against it, and that it does not start", async () => {
    await using running = await startBridge(fixture("server", "exits"));
    await eventually("the failure", async () => (await probe(running)).status === 503);
    expect((await probe(running)).messages[0]?.error?.message).toContain("the server exited with code 3");
  });
});

test("a session whose server takes longer to start than calls may take is opened when it has", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bridge-gate-"));
  const gate = join(folder, "open");
  await writeFile(gate, "");
  let time = 1_000_000;
  // Of the sweeps alone.
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  onTestFinished(() => void vi.useRealTimers());
  await using running = await startBridge(fixture("server", `waits-for:${gate}`), {
    timeoutSeconds: 1,
    startTimeoutSeconds: 60,
    now: () => time,
  });
  await eventually("a healthy bridge", () => running.bridge.health().ok);
  await rm(gate);
  const opening = openAs(running, "alice");
  await eventually("the session", () => running.bridge.health().body.sessions === 1);
  time += 35_000;
  vi.advanceTimersByTime(10_000);
  await writeFile(gate, "");
  expect(await running.callTool("echo", { message: "hi" }, await opening)).toBe("hi");
  await rm(folder, { recursive: true });
});

test("a body that comes after its head, and one in many packets, are taken whole", async () => {
  await using running = await startBridge(fixture("server"));
  const message = "x".repeat(300_000);
  expect(await running.callTool("echo", { message })).toContain(message);
  const body = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"message":"late"}}}';
  const socket = connect(Number(running.url.port), "127.0.0.1");
  socket.write(
    `POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n` +
      "Expect: 100-continue\r\nConnection: close\r\n\r\n",
  );
  // The bridge has read the head when it asks for the body.
  expect(String(await once(socket, "data"))).toContain("100 Continue");
  socket.write(body);
  let answer = "";
  for await (const chunk of socket) answer += String(chunk);
  expect(answer).toContain("late");
});

test("a body with more values than anybody needs is refused", async () => {
  await using running = await startBridge(fixture("server"));
  const values = (count: number): string => `[${Array<string>(count).fill("[]").join(",")}]`;
  const call = (count: number) =>
    running.post(
      `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"message":"x","more":${values(count)}}}}`,
    );
  expect((await call(90_000)).messages).toMatchObject([{ result: { content: [{ text: "x" }] } }]);
  const { status, messages } = await call(200_000);
  expect(status).toBe(413);
  expect(messages[0]?.error?.message).toBe("Payload Too Large: the request body has more than 200000 JSON values");
});

test("of the questions that a server asks a session, so many are open at once, each under an id of a bounded length", async () => {
  await using running = await startBridge(fixture("server"));
  const session = await running.openSession({ elicitation: {} });
  expect(JSON.parse(await running.callTool("askMany", { count: 300, refused: 300 - MAX_ASKED }, session))).toEqual({
    errors: [`${MAX_ASKED} requests to this client are open already`],
  });
  const other = await running.openSession({ elicitation: {} });
  expect(await running.callTool("askAs", { id: "x".repeat(2_000) }, other)).toContain(
    "its id is longer than 1024 characters",
  );
});

test("of the questions that a server asks in a call without a session, so many are passed on", async () => {
  await using running = await startBridge(fixture("server"));
  const call = async (args: Record<string, unknown>, more = {}) => {
    const params = { name: "askMany", arguments: args, ...more };
    const { body, headers } = stateless("tools/call", params, { capabilities: { elicitation: {} } });
    return (await running.post(body, headers)).messages.at(-1)?.result;
  };
  const atOnce = { count: 300, refused: 300 - MAX_ASKED };
  const together = { count: 5, refused: 1, chars: 8_000_000 };
  for (const args of [atOnce, together]) {
    let result = await call(args);
    await eventually("the answer", async () => {
      if (result?.resultType === "input_required")
        result = await call(args, { requestState: result.requestState, inputResponses: {} });
      return result?.content?.[0]?.text.includes("too many questions wait") === true;
    });
  }
});

test("no more resources are watched by a session, or by a stream, than it may be told of", async () => {
  await using running = await startBridge(fixture("server"), { sessions: "shared" });
  // Of a server that all sessions share.
  const session = (await running.post(initialize())).headers.get("mcp-session-id") ?? "";
  const subscribe = async (id: number): Promise<string | undefined> => {
    const body = { jsonrpc: "2.0", id, method: "resources/subscribe", params: { uri: `file:///${id}` } };
    return (await running.post(body, { "mcp-session-id": session })).messages[0]?.error?.message;
  };
  const problems: (string | undefined)[] = [];
  for (let id = 0; id <= MAX_WATCHED; id++) problems.push(await subscribe(id));
  expect(problems.filter((problem) => problem !== undefined)).toEqual(["at most 1024 resources are watched at once"]);
  expect(problems.at(-1)).toBeDefined();

  const resourceSubscriptions = Array.from({ length: MAX_WATCHED + 1 }, (_, at) => `file:///${at}`);
  const { body, headers } = stateless("subscriptions/listen", { notifications: { resourceSubscriptions } });
  expect((await running.post(body, headers)).messages[0]?.error?.message).toBe(
    "Invalid params: at most 1024 resources are watched at once",
  );
});
