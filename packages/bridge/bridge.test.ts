import { connect } from "node:net";
import { eventually } from "@toolyard/testing/eventually.ts";
import { describe, expect, test } from "vitest";

import { createBridge, prepareLaunch } from "./index.ts";
import { alive, fixture, initialize, startBridge, stateless } from "./bridge.fixture.ts";

const bearer = { authorization: "Bearer secret" };

test("a body that is not JSON is refused with the place where it ceases to be", async () => {
  await using running = await startBridge(fixture("server"));
  const { status, messages } = await running.post('{"jsonrpc": "2.0",\n "id": }');
  expect(status).toBe(400);
  expect(messages[0]?.error).toMatchObject({
    code: -32_700,
    message: 'Parse error: the request body is not JSON: at line 2, column 8 unexpected "}"',
  });
});

describe("sessions", () => {
  test("have a child each, and calls without a session another", async () => {
    await using running = await startBridge(fixture("server"));
    const [one, two] = [await running.openSession({ roots: {} }), await running.openSession({ roots: {} })];
    const pids = new Set([
      await running.callTool("pid", {}, one),
      await running.callTool("pid", {}, two),
      await running.callTool("pid"),
    ]);
    expect(pids.size).toBe(3);
  });

  test("share one child when isolation is off, and get their own answers", async () => {
    await using running = await startBridge(fixture("server"), { sessions: "shared" });
    const sessions = await Promise.all([1, 2, 3].map(() => running.openSession()));
    const pids = await Promise.all(sessions.map((session) => running.callTool("pid", {}, session)));
    expect(new Set(pids).size).toBe(1);
    const same = (message: string, session: string | undefined) =>
      running.post(
        { jsonrpc: "2.0", id: 7, method: "tools/call", params: { name: "echo", arguments: { message } } },
        { "mcp-session-id": session ?? "" },
      );
    const answers = await Promise.all(sessions.map((session, n) => same(`m${n}`, session)));
    expect(answers.map(({ messages }) => [messages[0]?.id, messages[0]?.result?.content?.[0]?.text])).toEqual([
      [7, "m0"],
      [7, "m1"],
      [7, "m2"],
    ]);
    expect(running.bridge.health().body.children).toBe(1);
  });

  test("give the first client the child that is there already, told of its capabilities or not asked for any", async () => {
    await using running = await startBridge(fixture("server"));
    await eventually("a healthy bridge", () => running.bridge.health().ok);
    const session = await running.openSession();
    expect(running.bridge.health().body.children).toBe(1);
    expect(await running.callTool("capabilities", {}, session)).toBe("{}");
    const other = await running.openSession({ roots: {} });
    expect(await running.callTool("capabilities", {}, other)).toBe('{"roots":{}}');
  });

  test("end with DELETE: the id is then unknown and the child, its children and its folder are gone", async () => {
    await using running = await startBridge(fixture("server"));
    const session = await running.openSession({ roots: {} });
    const pids = [
      Number(await running.callTool("pid", {}, session)),
      Number(await running.callTool("grandchild", {}, session)),
    ];
    const response = await fetch(running.url, { method: "DELETE", headers: { "mcp-session-id": session } });
    expect(response.status).toBe(200);
    const answer = await running.post({ jsonrpc: "2.0", id: 1, method: "tools/list" }, { "mcp-session-id": session });
    expect(answer.status).toBe(404);
    await eventually("both processes gone", () => pids.every((pid) => !alive(pid)));
    await eventually(
      "one folder for each child left",
      () => running.folders().length === running.bridge.health().body.children,
    );
  });

  test("past the limit the longest idle one is closed, and a new one refused when none is idle", async () => {
    await using running = await startBridge(fixture("server"), { maxSessions: 2 });
    const first = await running.openSession();
    const second = await running.openSession();
    const third = await running.openSession();
    const status = async (session: string) =>
      (await running.post({ jsonrpc: "2.0", id: 1, method: "ping" }, { "mcp-session-id": session })).status;
    expect([await status(first), await status(second), await status(third)]).toEqual([404, 200, 200]);
    const busy = [running.callTool("slow", { steps: 100 }, second), running.callTool("slow", { steps: 100 }, third)];
    for (const call of busy) call.catch(() => undefined);
    await eventually("a refusal", async () => {
      const { status: code, messages } = await running.post(initialize());
      return code === 503 && (messages[0]?.error?.message ?? "").includes("all 2 sessions are in use");
    });
  });

  test("that are idle too long are closed", async () => {
    let skew = 0;
    await using running = await startBridge(fixture("server"), { idleSeconds: 60, now: () => Date.now() + skew });
    const session = await running.openSession();
    skew = 61_000;
    await eventually("the session's end", () => running.bridge.health().body.sessions === 0);
    expect((await running.post({ jsonrpc: "2.0", id: 1, method: "ping" }, { "mcp-session-id": session })).status).toBe(
      404,
    );
  });

  test("leave nothing behind, however many were opened and closed", async () => {
    await using running = await startBridge(fixture("server"));
    for (let n = 0; n < 30; n += 1) {
      const session = await running.openSession({ roots: {} });
      await fetch(running.url, { method: "DELETE", headers: { "mcp-session-id": session } });
    }
    await eventually("the shared child and a spare left", () => Number(running.bridge.health().body.children) <= 2);
    await eventually("their folders only", () => running.folders().length <= 2);
    expect(running.bridge.health().body.sessions).toBe(0);
  });

  test("carry batches, unknown methods and the server's own requests", async () => {
    await using running = await startBridge(fixture("server"));
    const session = await running.openSession({ elicitation: {} });
    const headers = { "mcp-session-id": session, "mcp-protocol-version": "2025-03-26" };
    const batch = await running.post(
      [
        { jsonrpc: "2.0", id: "a", method: "custom/method", params: { deep: [1, { two: 2 }] } },
        { jsonrpc: "2.0", id: 1, method: "no/such" },
        { jsonrpc: "2.0", method: "notifications/whatever" },
      ],
      headers,
    );
    expect(batch.messages).toEqual(
      expect.arrayContaining([
        { jsonrpc: "2.0", id: "a", result: { got: { deep: [1, { two: 2 }] } } },
        { jsonrpc: "2.0", id: 1, error: { code: -32601, message: "Method not found" } },
      ]),
    );
    const response = await fetch(running.url, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        "mcp-session-id": session,
      },
      body: JSON.stringify({ jsonrpc: "2.0", id: 9, method: "tools/call", params: { name: "elicit" } }),
    });
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    const question = JSON.parse(/data: (.*)\n/.exec((await reader?.read())?.value ?? "")?.[1] ?? "{}");
    expect(question.method).toBe("elicitation/create");
    await running.post(
      { jsonrpc: "2.0", id: question.id, result: { action: "accept", content: { name: "Bo" } } },
      headers,
    );
    expect((await reader?.read())?.value).toContain("Bo");
  });

  test("refuse a request id that is still open, and forget a cancelled call", async () => {
    await using running = await startBridge(fixture("server"));
    const session = await running.openSession();
    const headers = { "mcp-session-id": session };
    const slow = running.post({ jsonrpc: "2.0", id: 5, method: "tools/call", params: { name: "never" } }, headers);
    await eventually(
      "the second call refused",
      async () => (await running.post({ jsonrpc: "2.0", id: 5, method: "ping" }, headers)).status === 400,
    );
    await running.post(
      { jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: 5, reason: "enough" } },
      headers,
    );
    expect((await slow).messages).toEqual([]);
    expect(await running.callTool("cancelled", {}, session)).toContain("enough");
  });
});

describe("a server that misbehaves", () => {
  test("and exits at once is reported with its code on /ready and to callers, its last line to who has the token", async () => {
    await using running = await startBridge(fixture("server", "exits"));
    await eventually("the failure", () => running.bridge.health().body.status === "failing");
    const health = await fetch(new URL("/ready", running.url));
    expect(health.status).toBe(503);
    const reason = "the server exited with code 3 at once";
    expect(await health.json()).toMatchObject({ error: reason });
    // It lives, and is not to be ended for its server.
    expect((await fetch(new URL("/health", running.url))).status).toBe(200);
    const status = await fetch(new URL("/status", running.url));
    expect(await status.json()).toMatchObject({ error: reason, words: "no such key: API_KEY" });
    for (const answer of [
      await running.post(initialize()),
      await running.post({ jsonrpc: "2.0", id: 1, method: "tools/list" }),
    ]) {
      expect(answer.messages[0]?.error?.message).toContain("the server exited with code 3");
      expect(JSON.stringify(answer.messages)).not.toContain("API_KEY");
    }
  });

  test("and cannot be installed by npx is reported with what npm says of it, not with where npm's log is", async () => {
    await using running = await startBridge(fixture("server", "ends-as-npx"));
    await eventually("the failure", () => running.bridge.health().body.status === "failing");
    const status = await fetch(new URL("/status", running.url));
    expect(await status.json()).toMatchObject({ words: "npm error 404 Not Found - GET https://registry.example/none" });
  });

  test("and never answers is starting, and calls to it fail in time", async () => {
    await using running = await startBridge(fixture("server", "silent"), { timeoutSeconds: 1 });
    const answer = await running.post({ jsonrpc: "2.0", id: 1, method: "tools/list" });
    expect(answer.status).toBe(503);
    expect(answer.messages[0]?.error?.message).toContain("has not answered initialize yet");
    expect(running.bridge.health()).toMatchObject({ ok: false, body: { status: "starting" } });
  });

  test("and refuses to initialize is reported", async () => {
    await using running = await startBridge(fixture("server", "refuses"));
    const answer = await running.post({ jsonrpc: "2.0", id: 1, method: "tools/list" });
    expect(answer.messages[0]?.error?.message).toBe("the server refused to initialize");
    expect(running.bridge.health()).toMatchObject({
      body: { status: "failing", error: "the server refused to initialize" },
    });
    const status = await fetch(new URL("/status", running.url));
    expect(await status.json()).toMatchObject({ words: "not today" });
  });

  test("and refuses to initialize is started again ever more rarely", async () => {
    let time = 1_000_000;
    await using running = await startBridge(fixture("server", "refuses"), { now: () => time });
    const starts = () =>
      running.log.filter(({ text }) => text === "the server refused to initialize: not today").length;
    const list = () => running.post({ jsonrpc: "2.0", id: 1, method: "tools/list" });
    const startedAt: number[] = [];
    while (startedAt.length < 5) {
      expect((await list()).status).toBe(503);
      while (startedAt.length < starts()) startedAt.push(time);
      time += 250;
    }
    const waits = startedAt.slice(1).map((at, index) => at - (startedAt[index] ?? 0));
    expect(waits).toEqual(waits.toSorted((a, b) => a - b));
    expect(waits.at(-1)).toBeGreaterThanOrEqual(2_000);
  });

  test("and tells its secrets on stderr, on stdout, in errors and in log messages tells nobody", async () => {
    const secret = 'k3y-with-"quotes"-and-é';
    await using running = await startBridge(fixture("server"), { secrets: [secret] });
    const session = await running.openSession();
    const answers = [];
    for (const where of ["stderr", "stdout", "error", "log", "result"])
      answers.push(
        await running.post(
          { jsonrpc: "2.0", id: where, method: "tools/call", params: { name: "tells", arguments: { where, secret } } },
          { "mcp-session-id": session },
        ),
      );
    await expect(running.callTool("tells", { where: "death", secret }, session)).rejects.toThrow("exited with code 9");
    await eventually("the log", () => running.log.some(({ text }) => text.startsWith("the server exited with code 9")));
    const seen = JSON.stringify([answers, running.log]);
    for (const form of [secret, JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret)])
      expect(seen).not.toContain(JSON.stringify(form).slice(1, -1));
    expect(seen).not.toContain(Buffer.from(secret).toString("base64"));
    expect(seen.match(/\*\*\*/g)?.length).toBeGreaterThanOrEqual(10);
  });

  test("and prints junk is served, with the junk in the log", async () => {
    await using running = await startBridge(fixture("server", "junk"));
    expect(await running.callTool("echo", { message: "hi" })).toBe("hi");
    expect(running.log.filter((line) => line.stream === "STDOUT").map((line) => line.text)).toEqual(
      expect.arrayContaining(["Welcome to the server!", "{not json", "thinking about it"]),
    );
  });

  test("and dies fails its open calls at once, once, and is replaced", async () => {
    await using running = await startBridge(fixture("server"));
    const session = await running.openSession({ roots: {} });
    const open = running.callTool("never", {}, session);
    const failed = expect(open).rejects.toThrow(/^the server exited with code 7; the call was not repeated$/);
    await expect(running.callTool("die", {}, session)).rejects.toThrow("exited with code 7");
    await failed;
    expect((await running.post({ jsonrpc: "2.0", id: 1, method: "ping" }, { "mcp-session-id": session })).status).toBe(
      404,
    );
    const before = await running.callTool("pid");
    await expect(running.callTool("die")).rejects.toThrow("exited with code 7");
    await eventually("a new child", async () => (await running.callTool("pid").catch(() => before)) !== before);
    expect(await running.callTool("calls")).toBe("2");
  });

  test("and was killed for want of memory is said to have been; one that somebody else killed is not", async () => {
    let kills = 3;
    await using running = await startBridge(fixture("server"), { memory: { room: () => 100, kills: () => kills } });
    for (const [killed, reason] of [
      [0, /^the server was killed by SIGKILL; the call was not repeated$/],
      [1, /^the server was killed by SIGKILL for want of memory \(resources\.memoryMb in the launch\); the call/],
    ] as const) {
      const session = await running.openSession({ roots: {} });
      const failed = expect(running.callTool("never", {}, session)).rejects.toThrow(reason);
      const pid = Number(await running.callTool("pid", {}, session));
      kills += killed;
      process.kill(pid, "SIGKILL");
      await failed;
    }
  });

  test("and answers with more than 10 MiB fails that call alone; one just under it passes", async () => {
    await using running = await startBridge(fixture("server"));
    const session = await running.openSession({ roots: {} });
    for (const own of [session, undefined]) {
      const pid = await running.callTool("pid", {}, own);
      const open = running.callTool("slow", { steps: 20 }, own);
      expect((await running.callTool("huge", { bytes: 10 * 1024 * 1024 - 1000 }, own)).length).toBe(
        10 * 1024 * 1024 - 1000,
      );
      for (const order of ["idFirst", "idLast"])
        await expect(running.callTool("huge", { bytes: 10 * 1024 * 1024 + 1, order }, own)).rejects.toThrow(
          "the server's answer was more than 10485760 bytes (maxMessageBytes in the launch)",
        );
      expect(await open).toBe("20 steps");
      expect(await running.callTool("pid", {}, own)).toBe(pid);
    }
  });

  test.each([
    ["result", "a result", "the server's answer was nested more than 256 levels deep and was not passed on"],
    ["error", "deep", "the server's answer was nested more than 256 levels deep and was not passed on"],
    ["log", "logged", "logged"],
    ["question", null, "the request was nested more than 256 levels deep and was not passed on"],
  ])("and nests a %s too deep is told so, and goes on for everybody else", async (part, usual, tooDeep) => {
    await using running = await startBridge(fixture("server"));
    const session = await running.openSession();
    const pid = await running.callTool("pid", {}, session);
    const say = (levels: number) => running.callTool("deep", { part, levels }, session).catch(String);
    if (usual !== null) expect(await say(250)).toContain(usual);
    for (const levels of [300, 3_500, 100_000]) expect(await say(levels)).toContain(tooDeep);
    expect(await running.callTool("pid", {}, session)).toBe(pid);
  });

  test("is not asked what is nested too deep", async () => {
    await using running = await startBridge(fixture("server"));
    const session = await running.openSession();
    for (const levels of [300, 4_000, 100_000]) {
      const nested = "[".repeat(levels) + "]".repeat(levels);
      const text = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":${nested}}}`;
      const { status, messages } = await running.post(text, { "mcp-session-id": session });
      expect([status, messages[0]?.error]).toEqual([
        400,
        { code: -32600, message: "Invalid Request: the request body has more than 256 levels" },
      ]);
    }
  });

  test("and answers a stateless call with more than the launch allows fails that call, and is asked on", async () => {
    await using running = await startBridge(fixture("server"), { maxMessageBytes: 100_000 });
    const { body, headers } = stateless("tools/call", { name: "huge", arguments: { bytes: 100_000 } }, { id: 5 });
    const { messages } = await running.post(body, headers);
    expect(messages).toEqual([
      { jsonrpc: "2.0", id: 5, error: { code: -32000, message: expect.stringContaining("more than 100000 bytes") } },
    ]);
    expect(await running.callTool("echo", { message: "still here" })).toBe("still here");
  });

  test("and ignores stdin's end and SIGTERM is gone when the bridge is", async () => {
    const running = await startBridge(fixture("server", "stubborn"));
    const pids = [Number(await running.callTool("pid")), Number(await running.callTool("grandchild"))];
    await running[Symbol.asyncDispose]();
    await eventually("the end of all processes", () => !pids.some(alive));
  });

  test("and takes too long fails the call, is told, and progress counts as life", async () => {
    await using running = await startBridge(fixture("server"), { timeoutSeconds: 1 });
    const session = await running.openSession();
    await expect(running.callTool("never", {}, session)).rejects.toThrow("no answer and no progress within 1 s");
    expect(await running.callTool("cancelled", {}, session)).toContain("no answer within 1 s");
    const { messages } = await running.post(
      {
        jsonrpc: "2.0",
        id: 3,
        method: "tools/call",
        params: { name: "slow", arguments: { steps: 4, everyMs: 400 }, _meta: { progressToken: "p" } },
      },
      { "mcp-session-id": session },
    );
    expect(messages.map((message) => message.params?.progress ?? message.result?.content?.[0]?.text)).toEqual([
      1,
      2,
      3,
      4,
      "4 steps",
    ]);
  });

  test.each([
    ["for all sessions", { sessions: "shared" }],
    ["for each session", {}],
  ] as const)(
    "%s and answers when its call has failed is not heard by a later call of the same id, nor by another client's",
    async (_whose, sharing) => {
      await using running = await startBridge(fixture("server"), { timeoutSeconds: 1, ...sharing });
      const [session, another] = [await running.openSession(), await running.openSession()];
      const call = (name: string, from: string) =>
        running.post({ jsonrpc: "2.0", id: 3, method: "tools/call", params: { name } }, { "mcp-session-id": from });
      for (const later of "sessions" in sharing ? [session, another] : [session, session]) {
        const failed = await call("held", session);
        expect(failed.messages.at(-1)?.error?.message).toContain("no answer and no progress within 1 s");
        // The answer to that comes just before this one's.
        const { messages } = await call("release", later);
        expect(messages.map(({ id, result }) => [id, result?.content?.[0]?.text])).toEqual([[3, "done"]]);
      }
    },
  );
});

describe("stateless calls over a server of the session era", () => {
  test("get results with what the revision requires", async () => {
    await using running = await startBridge(fixture("server"));
    const discover = stateless("server/discover");
    const discovered = await running.post(discover.body, discover.headers);
    expect(discovered.messages[0]?.result).toEqual({
      resultType: "complete",
      supportedVersions: ["2026-07-28"],
      capabilities: { tools: { listChanged: true }, resources: { subscribe: true }, logging: {} },
      instructions: "be kind",
      ttlMs: 0,
      cacheScope: "private",
      _meta: { "io.modelcontextprotocol/serverInfo": { name: "fixture", version: "1" } },
    });
    const list = stateless("tools/list");
    const result = (await running.post(list.body, list.headers)).messages[0]?.result;
    expect(result).toMatchObject({ resultType: "complete", ttlMs: 0, cacheScope: "private" });
    expect(JSON.stringify(result)).not.toContain("taskSupport");
    const custom = stateless("custom/method", { a: 1 });
    expect((await running.post(custom.body, custom.headers)).messages[0]?.result).toMatchObject({
      got: { a: 1 },
      resultType: "complete",
    });
    const removed = stateless("logging/setLevel", { level: "debug" });
    expect((await running.post(removed.body, removed.headers)).status).toBe(404);
  });

  test("whose client did not declare what the server asks for fail as the revision has it, and do not hang", async () => {
    await using running = await startBridge(fixture("server"));
    for (const [name, required] of [
      ["elicit", { elicitation: {} }],
      ["sample", { sampling: {} }],
      ["roots", { roots: {} }],
    ] as const) {
      const call = stateless("tools/call", { name });
      const { status, messages } = await running.post(call.body, call.headers);
      expect(status).toBe(400);
      expect(messages[0]).toMatchObject({ id: 1, error: { code: -32021, data: { requiredCapabilities: required } } });
    }
  });

  test("get log lines only when they asked for them and nobody else's could be meant", async () => {
    await using running = await startBridge(fixture("server"));
    const asked = stateless("tools/call", { name: "log" }, { meta: { "io.modelcontextprotocol/logLevel": "info" } });
    expect(
      (await running.post(asked.body, asked.headers)).messages.map((message) => message.method ?? "result"),
    ).toEqual(["notifications/message", "result"]);
    const silent = stateless("tools/call", { name: "log" });
    expect((await running.post(silent.body, silent.headers)).messages.length).toBe(1);
  });

  test("with input for a call that is gone are refused and not run", async () => {
    await using running = await startBridge(fixture("server"));
    const call = stateless("tools/call", {
      name: "echo",
      arguments: { message: "x" },
      requestState: "gone",
      inputResponses: {},
    });
    expect((await running.post(call.body, call.headers)).messages[0]?.error?.message).toContain("it was not repeated");
    expect(await running.callTool("calls")).toBe("1");
  });
});

describe("requests that must not pass", () => {
  test("are refused: token, host, origin, type, size, JSON, session, version", async () => {
    await using running = await startBridge(fixture("server"), { token: "secret", allowedHosts: ["friend.example"] });
    const ping = { jsonrpc: "2.0", id: 1, method: "tools/list" };
    const status = async (body: unknown, headers: Record<string, string>) => (await running.post(body, headers)).status;
    for (const token of ["", "secre", "secrets", "secret\u00e9", "secrex"])
      expect(await status(ping, { authorization: `Bearer ${token}` })).toBe(401);
    expect(await status(ping, bearer)).toBe(200);
    expect(await status(ping, { ...bearer, origin: "http://evil.example" })).toBe(403);
    expect(await status(ping, { ...bearer, origin: "null" })).toBe(403);
    expect(await status(ping, { ...bearer, origin: "https://friend.example" })).toBe(200);
    expect(await status(ping, { ...bearer, "content-type": "text/plain" })).toBe(415);
    expect(await status("{", bearer)).toBe(400);
    expect(await status({ hello: 1 }, bearer)).toBe(400);
    expect(await status(ping, { ...bearer, "mcp-session-id": "no-such" })).toBe(404);
    expect(await status(ping, { ...bearer, "mcp-protocol-version": "1999-01-01" })).toBe(400);
    expect(await status({ ...ping, params: { pad: "x".repeat(10 * 1024 * 1024) } }, bearer)).toBe(413);
    for (const path of ["/health", "/ready"]) expect((await fetch(new URL(path, running.url))).status).toBe(200);
    expect((await fetch(new URL("/status", running.url))).status).toBe(401);
    expect(await (await fetch(new URL("/status", running.url), { headers: bearer })).json()).toMatchObject({
      sessions: 0,
      maxSessions: 256,
    });
    // fetch does not let a test choose its Host.
    const socket = connect(Number(running.url.port), "127.0.0.1");
    socket.write("POST /mcp HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let answer = "";
    for await (const chunk of socket) answer += String(chunk);
    expect(answer).toMatch(/^HTTP\/1.1 403/);
  });

  test("do not start a bridge without a token on an address others can reach", () => {
    const launch = prepareLaunch({ command: process.execPath, args: [], workingDirectory: null, environment: {} });
    expect(() => createBridge({ launch, port: 0, token: null, host: "0.0.0.0" })).toThrow("needs a token");
  });
});

test("a child has its own folder and TMPDIR and sees no variable but its own", async () => {
  await using running = await startBridge(fixture("server"));
  const session = await running.openSession({ roots: {} });
  const [one, two] = [
    JSON.parse(await running.callTool("environment")),
    JSON.parse(await running.callTool("environment", {}, session)),
  ];
  expect(one.TMPDIR).not.toBe(two.TMPDIR);
  expect(one.cwd).not.toBe(two.cwd);
  expect(Object.keys(one).toSorted()).toEqual(["PATH", "TEMP", "TMP", "TMPDIR", "cwd"]);
});
