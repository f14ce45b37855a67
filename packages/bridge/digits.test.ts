import { describe, expect, test } from "vitest";

import { type Answer, fixture, startBridge, stateless } from "./bridge.fixture.ts";

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
    // The server itself reads the id of a session of its own, and prints it as it does.
    const text = sessions === "shared" ? written(request) : written(request).replace(id, "12");
    for (const [sent, headers] of [
      [text, session],
      [`[${text}, {"jsonrpc":"2.0","id":2,"method":"ping"}]`, session],
      [written(request), {}],
    ] as const) {
      const answer = await running.post(sent, headers);
      expect(answer.text).toContain(`"structuredContent":{${numbers}}`);
      const [said] = answer.messages.flatMap(({ result }) => result?.content ?? []);
      expect(said?.text).toContain(`{${numbers}}`);
    }
  });
});
