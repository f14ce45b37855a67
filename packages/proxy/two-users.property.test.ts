import { fileURLToPath } from "node:url";
import { type Bridge, createBridge, prepareLaunch } from "@toolyard/bridge";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startControlPlane, type FakeControlPlane } from "./fixtures/control-plane.ts";
import { routeTo, startProxy, withTokens, type RunningProxy } from "./fixtures/proxy.ts";

/**
 * Two users' calls of revision 2026-07-28, interleaved at random, against servers that ask, log, remember, and ask and log when the call
 * is long over: what one user is asked, answers, is told or has remembered never reaches the other.
 */

/** Longer than what random ids may happen to hold. */
const USERS = ["ada-of-the-test", "bob-of-the-test"] as const;
type User = (typeof USERS)[number];
const SERVERS = { "session era": "server", "2026-07-28": "both-eras" } as const;
const CAPABILITIES = { elicitation: {}, roots: {}, sampling: {} };

let controlPlane: FakeControlPlane;
let running: RunningProxy;
const bridges: Bridge[] = [];

async function startReplica(server: string, token: string): Promise<string> {
  const script = fileURLToPath(new URL(`../bridge/fixtures/${server}.mjs`, import.meta.url));
  const bridge = createBridge({
    launch: prepareLaunch({
      command: process.execPath,
      args: [script],
      workingDirectory: null,
      environment: { PATH: process.env.PATH ?? "" },
    }),
    token,
  });
  bridges.push(bridge);
  const { port } = await bridge.listen();
  return `http://127.0.0.1:${port}`;
}

beforeAll(async () => {
  controlPlane = await startControlPlane();
  const routes = [];
  for (const server of Object.values(SERVERS)) {
    for (const replicas of [1, 2]) {
      const slug = `${server}-${replicas}`;
      const urls = await Promise.all(
        Array.from({ length: replicas }, (_, index) => startReplica(server, `token-${slug}-${index}`)),
      );
      routes.push(withTokens(routeTo(slug, urls)));
    }
  }
  controlPlane.setRoutes(routes);
  running = await startProxy(controlPlane);
});
afterAll(async () => {
  await running[Symbol.asyncDispose]();
  await Promise.all(bridges.map((bridge) => bridge.close(0)));
  await controlPlane[Symbol.asyncDispose]();
});

interface Message {
  method?: string;
  params?: { data?: string };
  result?: {
    resultType: string;
    content?: { text: string }[];
    requestState?: string;
    inputRequests?: Record<string, { method: string; params: unknown }>;
  };
  error?: { message: string };
}

/** All messages of one answer. */
async function post(
  slug: string,
  user: User,
  params: Record<string, unknown>,
  logs: boolean,
): Promise<{ text: string; messages: Message[] }> {
  const response = await fetch(`${running.url}/mcp/${slug}/v1/mcp`, {
    method: "POST",
    headers: {
      authorization: `Bearer ${await controlPlane.accessToken(user)}`,
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      "mcp-protocol-version": "2026-07-28",
      "mcp-method": "tools/call",
      "mcp-name": "gossip",
    },
    body: JSON.stringify({
      jsonrpc: "2.0",
      // The same for all: ids are each client's own matter.
      id: 1,
      method: "tools/call",
      params: {
        name: "gossip",
        ...params,
        _meta: {
          "io.modelcontextprotocol/protocolVersion": "2026-07-28",
          "io.modelcontextprotocol/clientCapabilities": CAPABILITIES,
          ...(logs && { "io.modelcontextprotocol/logLevel": "debug" }),
        },
      },
    }),
  });
  const text = await response.text();
  const events = [...text.matchAll(/^data: (.*)$/gm)].map(([, json = ""]) => json);
  return { text, messages: (events.length > 0 ? events : [text]).map((json): Message => JSON.parse(json)) };
}

function answerTo(method: string, answer: string): unknown {
  if (method === "elicitation/create") return { action: "accept", content: { name: answer } };
  if (method === "roots/list") return { roots: [{ uri: `file:///${answer}` }] };
  return { model: "m", role: "assistant", content: { type: "text", text: answer } };
}

interface GossipCall {
  user: User;
  asks: string[];
  logs: boolean;
  late: boolean;
}

/** Makes one call to its end, and looks at all that its user gets. */
async function gossip(slug: string, { user, asks, logs, late }: GossipCall, secret: string): Promise<void> {
  const stranger = USERS.find((name) => name !== user) ?? "";
  const answers: unknown[] = [];
  let input: Record<string, unknown> = {};
  for (;;) {
    const { text, messages } = await post(slug, user, { arguments: { secret, asks, late }, ...input }, logs);
    expect(text).not.toContain(stranger);
    for (const { method, params } of messages.slice(0, -1)) {
      expect([logs, method]).toEqual([true, "notifications/message"]);
      expect(params?.data).toContain(`${user}-`);
    }
    const last = messages.at(-1);
    const { result } = last ?? {};
    if (result?.resultType !== "input_required") {
      expect(result, text).toBeDefined();
      const told = JSON.parse(result?.content?.[0]?.text ?? "{}");
      expect(told).toMatchObject({ secret, answers });
      // Nobody answered what was asked when its call was over.
      expect(told.known.filter((known: string) => known.includes("accept"))).toEqual([]);
      return;
    }
    const inputResponses: Record<string, unknown> = {};
    for (const [key, { method, params }] of Object.entries(result.inputRequests ?? {})) {
      const question = JSON.stringify(params);
      if (question.includes(" late")) {
        // Of an earlier call of the same user, which the server asked this one's child for.
        expect(question).toContain(`"${user}-`);
        inputResponses[key] = { action: "decline" };
        continue;
      }
      // Each other question is of this very call.
      expect(question).toContain(`"${secret}"`);
      const answer = answerTo(method, `${secret} says ${answers.length}`);
      inputResponses[key] = answer;
      answers.push(answer);
    }
    input = { requestState: result.requestState, inputResponses };
  }
}

const aCall: fc.Arbitrary<GossipCall> = fc.record({
  user: fc.constantFrom(...USERS),
  asks: fc.array(fc.constantFrom("elicit", "roots", "sample"), { maxLength: 3 }),
  logs: fc.boolean(),
  late: fc.boolean(),
});

describe.each(Object.entries(SERVERS))("with a server of the %s", (_era, server) => {
  test.each([1, 2])("and %i replica(s), nothing crosses", async (replicas) => {
    let count = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(aCall, { minLength: 2, maxLength: 8 }), async (calls) => {
        await Promise.all(
          calls.map((call) => {
            count += 1;
            return gossip(`${server}-${replicas}`, call, `${call.user}-${count}`);
          }),
        );
      }),
      { numRuns: 25, endOnFailure: true },
    );
  });
});
