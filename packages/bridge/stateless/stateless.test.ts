import { eventually } from "@toolyard/testing/eventually.ts";
import { describe, expect, test } from "vitest";

import { type Answer, fixture, initialize, type RunningBridge, startBridge, stateless } from "../bridge.fixture.ts";

/** Callers of the stateless revision (2026-07-28), each with what is theirs. */

const all = { elicitation: {}, sampling: {}, roots: {} };
const logged = { "io.modelcontextprotocol/logLevel": "info" };

function textOf({ messages }: Answer): string {
  return messages.at(-1)?.result?.content?.[0]?.text ?? JSON.stringify(messages.at(-1));
}

interface CallOptions {
  args?: Record<string, unknown>;
  capabilities?: Record<string, unknown>;
  meta?: Record<string, unknown>;
  headers?: Record<string, string>;
  input?: { requestState: unknown; inputResponses: Record<string, unknown> };
}

function call(running: RunningBridge, user: string, name: string, options: CallOptions = {}): Promise<Answer> {
  const { args = {}, capabilities = {}, meta = {}, headers = {}, input = {} } = options;
  const request = stateless("tools/call", { name, arguments: args, ...input }, { capabilities, meta, user });
  return running.post(request.body, { ...request.headers, ...headers });
}

describe("callers of a server of the session era", () => {
  test("are asked what their own call asks, and only their own answer goes to it", async () => {
    await using running = await startBridge(fixture("server"));
    const users = ["ada", "bob", "eve"];
    const asked = await Promise.all(users.map((user) => call(running, user, "elicit", { capabilities: all })));
    const states = asked.map(({ messages }) => messages[0]?.result?.requestState);
    expect(new Set(states).size).toBe(3);
    const answer = (user: string, state: unknown) =>
      call(running, user, "elicit", {
        capabilities: all,
        input: { requestState: state, inputResponses: { "input-1": { action: "accept", content: { name: user } } } },
      });
    // Another's state is nobody's, and says nothing of itself.
    const stolen = await answer("eve", states[0]);
    expect(stolen.messages[0]).toMatchObject({ error: { code: -32602, data: { reason: "invalid_request_state" } } });
    const answers = await Promise.all(users.map((user, index) => answer(user, states[index])));
    expect(answers.map((got) => JSON.parse(textOf(got)).content.name)).toEqual(users);
  });

  test("cannot go on with a call under the name of another tool", async () => {
    await using running = await startBridge(fixture("server"));
    const asked = await call(running, "ada", "elicit", { capabilities: all });
    const input = { requestState: asked.messages[0]?.result?.requestState, inputResponses: {} };
    const other = await call(running, "ada", "echo", { capabilities: all, input });
    expect(other.messages[0]?.error?.code).toBe(-32602);
  });

  test("have what the server keeps in memory for themselves", async () => {
    await using running = await startBridge(fixture("server"));
    await call(running, "ada", "remember", { args: { what: "ada's secret" } });
    await call(running, "ada", "remember", { args: { what: "ada's other secret" }, capabilities: all });
    for (const capabilities of [{}, all]) {
      expect(textOf(await call(running, "bob", "recall", { capabilities }))).toBe("nothing");
      const bare = await running.post(
        { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "recall" } },
        { "x-toolyard-user": "bob" },
      );
      expect(textOf(bare)).toBe("nothing");
    }
    expect(textOf(await call(running, "ada", "recall"))).toBe("ada's secret");
    expect(textOf(await call(running, "ada", "recall", { capabilities: all }))).toBe("ada's other secret");
  });

  test("get no log line of another's call, whatever runs beside it", async () => {
    await using running = await startBridge(fixture("server"));
    const slow = { args: { steps: 20, everyMs: 10 }, meta: logged };
    const watching = Promise.all([call(running, "ada", "slow", slow), call(running, "bob", "slow", slow)]);
    for (let round = 0; round < 5; round += 1) await call(running, "eve", "log", { meta: logged });
    for (const { messages } of await watching) expect(messages.map(({ method }) => method)).toEqual([undefined]);
  });

  test("are not asked what another call of theirs asks when it is over", async () => {
    await using running = await startBridge(fixture("server"));
    const refusals = () => running.log.filter(({ text }) => text.startsWith("answered late")).map(({ text }) => text);
    const pid = async (user: string, capabilities = {}) => textOf(await call(running, user, "pid", { capabilities }));
    const before = await pid("ada", all);
    expect(textOf(await call(running, "ada", "askLate", { capabilities: all }))).toBe("asked later");
    await eventually("the server's answer", () => refusals().length === 1);
    expect(refusals()[0]).toContain("no call is running");
    // Its next question might come while another call runs.
    expect(await pid("ada", all)).not.toBe(before);
    // Where nobody can be asked it changes nothing: the server is told, and goes on.
    const bobs = await pid("bob");
    await call(running, "bob", "askLate");
    await eventually("the server's answer", () => refusals().length === 2);
    expect(await pid("bob")).toBe(bobs);
  });

  test("are asked all that a server asks at once in one round", async () => {
    await using running = await startBridge(fixture("server"));
    const { messages } = await call(running, "ada", "askBoth", { capabilities: all });
    const result = messages[0]?.result;
    expect(result?.inputRequests).toMatchObject({
      "input-1": { method: "elicitation/create" },
      "input-2": { method: "sampling/createMessage" },
    });
    const inputResponses = { "input-1": { action: "decline" }, "input-2": { model: "m" } };
    const input = { requestState: result?.requestState, inputResponses };
    const answer = await call(running, "ada", "askBoth", { capabilities: all, input });
    expect(JSON.parse(textOf(answer))).toEqual([{ action: "decline" }, { model: "m" }]);
  });

  test("keep their child however many sets of capabilities take turns", async () => {
    await using running = await startBridge(fixture("server"));
    const sets = [{}, { elicitation: {} }, { sampling: {} }, { roots: {} }, { elicitation: {}, roots: {} }, all];
    const pids = async () => {
      const found: string[] = [];
      for (const capabilities of sets) found.push(textOf(await call(running, "ada", "pid", { capabilities })));
      return found;
    };
    const first = await pids();
    expect(new Set(first).size).toBe(sets.length);
    expect(await pids()).toEqual(first);
    expect(await pids()).toEqual(first);
  });

  test("past the limit wait, are refused in words, and take nothing from others", async () => {
    await using running = await startBridge(fixture("server"), { timeoutSeconds: 10 });
    const held: Answer[] = [];
    for (let count = 0; count < 16; count += 1) held.push(await call(running, "ada", "elicit", { capabilities: all }));
    expect(held.every(({ messages }) => messages[0]?.result?.resultType === "input_required")).toBe(true);
    const refused = await call(running, "ada", "elicit", { capabilities: all });
    expect(refused.status).toBe(503);
    expect(refused.headers.get("retry-after")).not.toBeNull();
    expect(refused.messages[0]).toMatchObject({ id: 1, error: { message: expect.stringContaining("busy") } });
    expect(textOf(await call(running, "bob", "echo", { args: { message: "hi" }, capabilities: all }))).toBe("hi");
    // One that ends makes room for one that waits.
    const waiting = call(running, "ada", "echo", { args: { message: "waited" }, capabilities: all });
    await call(running, "ada", "elicit", {
      capabilities: all,
      input: {
        requestState: held[0]?.messages[0]?.result?.requestState,
        inputResponses: { "input-1": { action: "decline" } },
      },
    });
    expect(textOf(await waiting)).toBe("waited");
  });

  test("do not see tools that only run as a task, and cannot call them", async () => {
    await using running = await startBridge(fixture("server"));
    const list = stateless("tools/list", {}, { user: "ada" });
    const tools = (await running.post(list.body, list.headers)).messages[0]?.result?.tools;
    expect(JSON.stringify(tools)).not.toContain('"task"');
    const { messages } = await call(running, "ada", "task");
    expect(messages[0]?.error?.message).toContain("runs as a task only");
  });

  test.each(["strict", "mute"])("are served by one that cannot bear to be asked what it speaks (%s)", async (odd) => {
    await using running = await startBridge(fixture("server", odd));
    const users = ["ada", "bob"];
    const answers = await Promise.all(
      users.map((user) => call(running, user, "echo", { args: { message: user }, capabilities: all })),
    );
    expect(answers.map(textOf)).toEqual(users);
    expect(running.bridge.health()).toMatchObject({ ok: true });
    expect(running.bridge.health().body.error).toBeUndefined();
  });

  test("are told at once when it ends while the bridge asks it for its tools", async () => {
    await using running = await startBridge(fixture("server", "ends-at-list"));
    expect((await call(running, "ada", "pid")).messages.at(-1)?.error?.message).toContain("exited with code 6");
  });

  test("get 404 for methods that the server does not have, in the words of the server", async () => {
    await using running = await startBridge(fixture("server"));
    const unknown = stateless("no/such", {}, { user: "ada", id: 7 });
    const answer = await running.post(unknown.body, unknown.headers);
    expect(answer.status).toBe(404);
    expect(answer.messages[0]).toMatchObject({ id: 7, error: { code: -32601 } });
  });
});

describe.each(["server", "both-eras"])("the headers that repeat parameters, for %s", (name) => {
  test("are held against the body", async () => {
    await using running = await startBridge(fixture(name));
    const status = async (headers: Record<string, string>, args: Record<string, unknown> = { region: "süd" }) => {
      const answer = await call(running, "ada", "region", { args, headers });
      return [answer.status, answer.messages[0]?.error?.code ?? textOf(answer)];
    };
    expect(await status({})).toEqual([400, -32020]);
    expect(await status({ "mcp-param-region": "nord" })).toEqual([400, -32020]);
    expect(await status({ "mcp-param-region": "=?base64?s%?=" })).toEqual([400, -32020]);
    const encoded = `=?base64?${Buffer.from("süd").toString("base64")}?=`;
    expect(await status({ "mcp-param-region": encoded })).toEqual([200, "süd"]);
    expect(await status({ "mcp-param-region": "nord" }, { region: "nord" })).toEqual([200, "nord"]);
  });
});

describe("callers of a server that speaks the revision itself", () => {
  test("share one child, under the same ids and tokens, and get what is theirs", async () => {
    await using running = await startBridge(fixture("both-eras"));
    const users = ["ada", "bob", "eve"];
    const answers = await Promise.all(
      users.map((user) => call(running, user, "report", { args: { name: user }, meta: { progressToken: "p" } })),
    );
    for (const [index, { messages }] of answers.entries()) {
      expect(messages.map(({ params, result }) => params?.message ?? result?.content?.[0]?.text)).toEqual(
        Array.from({ length: 4 }, () => users[index]),
      );
      expect(messages.slice(0, -1).every(({ params }) => params?.progressToken === "p")).toBe(true);
    }
    const pids = await Promise.all(users.map(async (user) => textOf(await call(running, user, "pid"))));
    expect(new Set(pids).size).toBe(1);
  });

  test("get their own log lines when they asked for them", async () => {
    await using running = await startBridge(fixture("both-eras"));
    const users = ["ada", "bob", "ada", "bob"];
    const answers = await Promise.all(
      users.map((user) => call(running, user, "report", { args: { name: user }, meta: logged })),
    );
    for (const [index, { messages }] of answers.entries()) {
      const lines = messages.slice(0, -1).map(({ params }) => params?.data);
      expect(lines).toEqual([1, 2, 3].map((step) => `${users[index]} ${step}`));
    }
  });

  test.each([
    ["without log lines", {}],
    ["with log lines, which are of one child each", logged],
  ])("go on with several inputs and the server's own state, %s", async (_name, meta) => {
    await using running = await startBridge(fixture("both-eras"));
    const options = { args: { name: "ada" }, capabilities: all, meta };
    const rounds = await Promise.all(Array.from({ length: 3 }, () => call(running, "ada", "ask", options)));
    for (const { messages } of rounds) {
      const result = messages[0]?.result;
      expect(result).toMatchObject({ resultType: "input_required", inputRequests: { who: {}, where: {} } });
      const inputResponses = { who: { action: "accept", content: { name: "Ada" } }, where: { roots: [] } };
      const answer = await call(running, "ada", "ask", {
        ...options,
        input: { requestState: result?.requestState, inputResponses },
      });
      expect(JSON.parse(textOf(answer))).toMatchObject({
        name: "ada",
        inputResponses,
        state: expect.stringMatching(/^\d+ ada$/),
      });
    }
  });

  test("get statuses as the revision has them, and numbers with their digits", async () => {
    await using running = await startBridge(fixture("both-eras"));
    const unknown = stateless("no/such", {}, { user: "ada" });
    expect((await running.post(unknown.body, unknown.headers)).status).toBe(404);
    const undeclared = await call(running, "ada", "ask", { args: { name: "ada" } });
    expect([undeclared.status, undeclared.messages[0]?.error?.code]).toEqual([400, -32021]);
    const { body, headers } = stateless("tools/call", { name: "echo", arguments: { number: 0 } }, { user: "ada" });
    const text = JSON.stringify(body).replace('"id":1', '"id":9007199254740993').replace('"number":0', '"number":1.0');
    const response = await fetch(running.url, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "application/json, text/event-stream", ...headers },
      body: text,
    });
    expect(await response.text()).toContain('"id":9007199254740993');
  });

  test("listen to what they asked for, under their own id", async () => {
    await using running = await startBridge(fixture("both-eras"));
    const { body, headers } = stateless(
      "subscriptions/listen",
      { notifications: { toolsListChanged: true } },
      { id: 77, user: "ada" },
    );
    const response = await fetch(running.url, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "application/json, text/event-stream", ...headers },
      body: JSON.stringify(body),
    });
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    let seen = (await reader?.read())?.value ?? "";
    expect(seen).toContain("notifications/subscriptions/acknowledged");
    await call(running, "bob", "change");
    while (!seen.includes("list_changed")) seen += (await reader?.read())?.value ?? "";
    expect(seen.match(/"io.modelcontextprotocol\/subscriptionId":77\b/g)?.length).toBe(2);
    await reader?.cancel();
  });

  test("have one of their own for a while when it ended by itself: who ends it again ends it for nobody else", async () => {
    await using running = await startBridge(fixture("both-eras"));
    const pid = async (user: string) => textOf(await call(running, user, "pid"));
    const before = await pid("ada");
    expect(await pid("eve")).toBe(before);
    expect(textOf(await call(running, "eve", "die"))).toContain("exited with code 7");
    const own = await pid("ada");
    expect(own).not.toBe(before);
    const slow = call(running, "ada", "report", { args: { name: "ada" } });
    expect(textOf(await call(running, "eve", "die"))).toContain("exited with code 7");
    expect(textOf(await slow)).toBe("ada");
    // It is counted against the one whose it was.
    expect((await call(running, "eve", "pid")).status).toBe(503);
    expect(await pid("ada")).toBe(own);
  });

  test("cannot reach another's call by ids or tokens that they make up", async () => {
    await using running = await startBridge(fixture("both-eras"));
    await call(running, "ada", "pid");
    const sent = (await call(running, "ada", "ids")).messages[0]?.result?.content?.[0]?.text ?? "";
    const again = (await call(running, "ada", "ids")).messages[0]?.result?.content?.[0]?.text ?? "";
    for (const ids of [sent, again]) expect(Number(ids)).toBeGreaterThan(1_000);
    expect(Math.abs(Number(again) - Number(sent))).toBeGreaterThan(100);
  });

  test("still find it served to clients of the session era", async () => {
    await using running = await startBridge(fixture("both-eras"));
    await call(running, "ada", "pid");
    const session = await running.openSession();
    expect(await running.callTool("pid", {}, session)).toMatch(/^\d+$/);
    expect((await running.post(initialize())).messages[0]?.result?.protocolVersion).toBe("2025-11-25");
  });
});

describe("sessions that share a child", () => {
  test("are answered in the version that they asked for, and told what they will not be asked", async () => {
    await using running = await startBridge(fixture("server"), { sessions: "shared" });
    for (const protocolVersion of ["2025-11-25", "2025-06-18", "2025-03-26"]) {
      const request = initialize({ elicitation: {}, roots: { listChanged: true } });
      const params = { ...(request.params as Record<string, unknown>), protocolVersion };
      const { messages } = await running.post({ ...request, params });
      expect(messages[0]?.result).toMatchObject({
        protocolVersion,
        _meta: { "toolyard/unservedCapabilities": ["elicitation", "roots"] },
      });
    }
    // The server was told the same, and what it asks all the same is refused in words.
    const session = await running.openSession({ elicitation: {} });
    expect(await running.callTool("capabilities", {}, session)).toBe("{}");
    expect(await running.callTool("elicit", {}, session)).toContain("without a session of its own");
  });
});
