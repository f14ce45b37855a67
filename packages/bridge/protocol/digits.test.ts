import { describe, expect, test } from "vitest";

import { type Answer, fixture, initialize, startBridge, stateless } from "../bridge.fixture.ts";

/** Numbers that another program would print otherwise keep their digits, whoever is between client and server. */

const numbers = '"big":12345678901234567890,"whole":1.0,"small":1E-7';
const id = "9007199254740993";

/** The text of a request with such numbers for its id and for what stands as "DIGITS". */
function written(body: unknown): string {
  return JSON.stringify(body).replaceAll('"DIGITS"', `{${numbers}}`).replaceAll('"id":1,', `"id":${id},`);
}

function expectDigits({ text, messages }: Answer): void {
  expect(text).toContain(`"structuredContent":{${numbers}}`);
  expect(text).toContain(`"id":${id}`);
  expect(messages.at(-1)?.result?.content?.[0]?.text).toContain(`{${numbers}}`);
}

const params = { name: "digits", arguments: { sent: "DIGITS" } };
const request = { jsonrpc: "2.0", id: 1, method: "tools/call", params };

describe.each(["isolated", "shared"] as const)("numbers keep their digits, sessions %s", (sessions) => {
  test("of stateless calls, and of what they are told in between", async () => {
    await using running = await startBridge(fixture("server"), { sessions });
    const { body, headers } = stateless("tools/call", params, { meta: { progressToken: 7 } });
    const answer = await running.post(written(body), headers);
    expectDigits(answer);
    expect(answer.text).toContain('"progressToken":7,"progress":1.0');
  });

  test("of what is asked and answered in the middle of a call", async () => {
    await using running = await startBridge(fixture("server"), { sessions });
    const asking = { ...params, arguments: { sent: "DIGITS", asks: true } };
    const options = { capabilities: { elicitation: {} } };
    const first = stateless("tools/call", asking, options);
    const asked = await running.post(written(first.body), first.headers);
    expect(asked.text).toContain(`"example":{${numbers}}`);
    expect(asked.text).toContain(`"id":${id}`);
    const { requestState, inputRequests } = asked.messages[0]?.result ?? {};
    const [key = ""] = Object.keys(inputRequests ?? {});
    const inputResponses = { [key]: { action: "accept", content: { name: "DIGITS" } } };
    const second = stateless("tools/call", { ...asking, requestState, inputResponses }, options);
    const answer = await running.post(written(second.body), second.headers);
    expectDigits(answer);
    expect(answer.messages[0]?.result?.content?.[0]?.text).toContain(`"content":{"name":{${numbers}}}`);
  });

  test("of sessions, of batches in them, and of calls without one", async () => {
    await using running = await startBridge(fixture("server"), { sessions });
    const session = { "mcp-session-id": await running.openSession(), "mcp-protocol-version": "2025-03-26" };
    const text = written(request);
    for (const [sent, headers] of [
      [text, session],
      [`[${text}, {"jsonrpc":"2.0","id":2,"method":"ping"}]`, session],
      [written(request), {}],
    ] as const) {
      const answer = await running.post(sent, headers);
      expect(answer.text).toContain(`"structuredContent":{${numbers}}`);
      expect(answer.text).toContain(`"id":${id}`);
      const [said] = answer.messages.flatMap(({ result }) => result?.content ?? []);
      expect(said?.text).toContain(`{${numbers}}`);
    }
  });
});

describe.each(["isolated", "shared"] as const)(
  "of a server of the stateless revision alone, sessions %s",
  (sessions) => {
    const odd = ["12345678901234567890", "9007199254740993", "1.0"];
    const all = '{"big":12345678901234567890,"whole":1.0,"huge":1e400,"zero":-0}';
    /** A request with such numbers, its id and its progress token among them. */
    const call = (name: string, requestId: string, meta = "") =>
      `{"jsonrpc":"2.0","id":${requestId},"method":"tools/call","params":{"name":"${name}","arguments":${all},"_meta":{"progressToken":${requestId}${meta}}}}`;
    const said = ({ messages }: Answer) => {
      const { result, error } = messages.at(-1) ?? {};
      return result?.content?.[0]?.text ?? String((error?.data as { line?: string } | undefined)?.line);
    };

    test.each(["fail", "echo"])("numbers keep their digits, of sessions (%s)", async (name) => {
      await using running = await startBridge(fixture("stateless-digits"), { sessions });
      const opened = await running.post(JSON.stringify(initialize({})).replace(/"id":[^,]+/, `"id":${odd[0]}`));
      expect(opened.text).toContain(`"id":${odd[0]}`);
      expect(opened.text).toContain(`"experimental":${all}`);
      const session = { "mcp-session-id": opened.headers.get("mcp-session-id") ?? "" };
      for (const requestId of odd) {
        const answer = await running.post(call(name, requestId), session);
        expect(answer.text).toContain(`"id":${requestId}`);
        expect(answer.text).toContain(`"progressToken":${requestId},"progress":1.0`);
        expect(answer.text).toContain(all);
        expect(said(answer)).toContain(`"arguments":${all}`);
      }
    });

    test("numbers keep their digits, of stateless calls", async () => {
      await using running = await startBridge(fixture("stateless-digits"), { sessions });
      for (const name of ["fail", "echo"])
        for (const requestId of odd) {
          const { body, headers } = stateless("tools/call", { name });
          const meta = JSON.stringify(body.params._meta).slice(1, -1);
          const answer = await running.post(call(name, requestId, `,${meta}`), headers);
          expect(answer.text).toContain(`"id":${requestId}`);
          expect(answer.text).toContain(`"progressToken":${requestId},"progress":1.0`);
          expect(answer.text).toContain(all);
          expect(said(answer)).toContain(`"arguments":${all}`);
        }
    });
  },
);

test("of a server of the stateless revision alone, what is asked and answered in the middle of a session's call keeps its digits", async () => {
  const all = '{"big":12345678901234567890,"whole":1.0,"huge":1e400,"zero":-0}';
  await using running = await startBridge(fixture("stateless-digits"));
  const session = { "mcp-session-id": await running.openSession({ elicitation: {} }) };
  const response = await fetch(running.url, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json, text/event-stream", ...session },
    body: `{"jsonrpc":"2.0","id":9007199254740993,"method":"tools/call","params":{"name":"ask","arguments":${all}}}`,
  });
  let text = "";
  for await (const chunk of response.body ?? []) {
    text += Buffer.from(chunk as Uint8Array).toString();
    const asked = /"id":("toolyard-input:[^"]+")/.exec(text)?.[1];
    if (asked === undefined || text.includes('"structuredContent"')) continue;
    expect(text).toContain(`"numbers":${all}`);
    await running.post(`{"jsonrpc":"2.0","id":${asked},"result":{"action":"accept","content":${all}}}`, session);
  }
  expect(text).toContain('"id":9007199254740993');
  expect(text).toContain(`\\"content\\":${all.replaceAll('"', '\\"')}`);
  expect(text).toContain(`\\"arguments\\":${all.replaceAll('"', '\\"')}`);
});

test.each([
  ["an unknown session", { "mcp-session-id": "none" }],
  ["a header that disagrees", { "mcp-protocol-version": "2026-07-28", "mcp-method": "prompts/get" }],
  ["another revision", { "mcp-protocol-version": "1999-01-01" }],
])("what the bridge itself refuses names the request as it was written (%s)", async (_name, headers) => {
  await using running = await startBridge(fixture("server"));
  for (const requestId of ["12345678901234567890", "9007199254740993"]) {
    const answer = await running.post(`{"jsonrpc":"2.0", "id": ${requestId}, "method":"tools/list"}`, headers);
    expect(answer.messages.at(-1)?.error).toBeDefined();
    expect(answer.text).toContain(`"id":${requestId}`);
  }
});
