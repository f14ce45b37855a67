import { request, type ClientRequest } from "node:http";
import { eventually } from "@toolyard/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startControlPlane, type FakeControlPlane } from "../fixtures/control-plane.ts";
import { routeTo, startProxy, type RunningProxy } from "../fixtures/proxy.ts";
import { startUpstream, type Upstream } from "../fixtures/upstream.ts";

/** Servers of revision 2026-07-28 that remember in memory what they asked, as two replicas of a tool. */

const REPLICAS = 2;
const MEBIBYTE = 1_048_576;
let controlPlane: FakeControlPlane;
let running: RunningProxy;
let other: RunningProxy;
let clock = Date.now();
const upstreams: Upstream[] = [];

async function startAsker(index: number): Promise<Upstream> {
  const asked = new Set<string>();
  return startUpstream(
    (request, response, body) => {
      const { id, params } = JSON.parse(body);
      const send = (message: Record<string, unknown>) => {
        const json = JSON.stringify({ jsonrpc: "2.0", id, ...message });
        const events = params.arguments?.events === true;
        response.writeHead(200, { "content-type": events ? "text/event-stream" : "application/json" });
        response.end(events ? `event: message\ndata: ${json}\n\n` : json);
      };
      const user = request.headers["x-toolyard-user"];
      if (params.requestState === undefined) {
        const own = `state ${asked.size} of ${String(user)} in ${index}`;
        asked.add(own);
        return send({
          result: {
            resultType: "input_required",
            inputRequests: {},
            text: "x".repeat(params.arguments?.long ?? 0),
            requestState: own,
          },
        });
      }
      if (!asked.delete(params.requestState)) return send({ error: { code: -32602, message: "nobody asked" } });
      send({ result: { resultType: "complete", state: params.requestState, pad: params.arguments?.pad?.length } });
    },
    { token: `token-asker-${index}` },
  );
}

beforeAll(async () => {
  controlPlane = await startControlPlane();
  controlPlane.issueBy(() => clock);
  for (let index = 0; index < REPLICAS; index += 1) upstreams.push(await startAsker(index));
  const urls = upstreams.map(({ url }) => url);
  controlPlane.setRoutes([routeTo("asker", urls), routeTo("twin", urls)]);
  running = await startProxy(controlPlane, { now: () => clock });
  other = await startProxy(controlPlane);
});
afterAll(async () => {
  await running[Symbol.asyncDispose]();
  await other[Symbol.asyncDispose]();
  for (const upstream of upstreams) await upstream[Symbol.asyncDispose]();
  await controlPlane[Symbol.asyncDispose]();
});

interface RpcAnswer {
  id: unknown;
  result?: { requestState?: string; state?: string; pad?: number };
  error?: { code: number; message: string; data: unknown };
}

async function ask(
  user: string,
  params: Record<string, unknown> = {},
  options: { slug?: string; name?: string; proxy?: RunningProxy; headers?: Record<string, string> } = {},
): Promise<RpcAnswer> {
  const { slug = "asker", name = "greet", proxy = running, headers = {} } = options;
  const answer = await fetch(`${proxy.url}/mcp/${slug}/v1/mcp`, {
    method: "POST",
    headers: {
      authorization: `Bearer ${await controlPlane.accessToken(user)}`,
      "content-type": "application/json",
      "mcp-protocol-version": "2026-07-28",
      "mcp-method": "tools/call",
      "mcp-name": name,
      ...headers,
    },
    body: JSON.stringify({ jsonrpc: "2.0", id: 7, method: "tools/call", params: { name, ...params } }),
  });
  expect(answer.status).toBe(200);
  const text = await answer.text();
  return JSON.parse(/^data: (.*)$/m.exec(text)?.[1] ?? text);
}

describe("the state of a call that asks for input", () => {
  test.each([
    ["in JSON", {}],
    ["in an event stream", { events: true }],
    ["with a large body", { pad: "x".repeat(200_000) }],
  ])("leads back to the replica that asked, by any proxy, %s", async (_name, args) => {
    for (let round = 0; round < 20; round += 1) {
      const { result } = await ask("ada", { arguments: args });
      expect(result?.requestState).not.toContain("ada");
      // Last in the body, behind whatever the arguments are.
      const next = await ask(
        "ada",
        { arguments: args, requestState: result?.requestState },
        { proxy: round % 2 === 0 ? running : other },
      );
      expect(next.result?.state).toContain("of ada");
    }
  });

  test("is refused in the protocol's words to another user, for another call or tool, when changed, raw or old", async () => {
    const { result } = await ask("ada");
    const state = result?.requestState ?? "";
    const before = upstreams.reduce((sum, { seen }) => sum + seen.length, 0);
    const raw = Buffer.from(state, "base64url")
      .subarray(16 + 6)
      .toString("latin1");
    const refusals = [
      await ask("bob", { requestState: state }),
      await ask("ada", { requestState: state }, { name: "other" }),
      await ask("ada", { requestState: state }, { slug: "twin" }),
      await ask("ada", { requestState: `${state}-TAMPERED` }),
      await ask("ada", { requestState: raw.slice(raw.indexOf("state")) }),
    ];
    clock += 2 * 3_600_000;
    // The proxy alone: the clock of a gateway before it stays.
    refusals.push(await ask("ada", { requestState: state }, { proxy: { ...running, url: running.ownUrl } }));
    clock -= 2 * 3_600_000;
    for (const refusal of refusals) {
      expect(refusal).toMatchObject({
        id: 7,
        error: {
          code: -32602,
          message: expect.stringContaining("requestState"),
          data: { reason: "invalid_request_state" },
        },
      });
    }
    // No replica has seen any of it, and the call can still go on.
    expect(upstreams.reduce((sum, { seen }) => sum + seen.length, 0)).toBe(before);
    expect((await ask("ada", { requestState: state })).result?.state).toContain("of ada");
  });

  test("in a body without a length is found, and such a body is bounded", async () => {
    const { result } = await ask("ada");
    const send = async (pad: number) =>
      fetch(`${running.url}/mcp/asker/v1/mcp`, {
        method: "POST",
        headers: {
          authorization: `Bearer ${await controlPlane.accessToken("ada")}`,
          "content-type": "application/json",
          "mcp-protocol-version": "2026-07-28",
          "mcp-method": "tools/call",
          "mcp-name": "greet",
        },
        body: new Blob([
          JSON.stringify({
            jsonrpc: "2.0",
            id: 7,
            method: "tools/call",
            params: { name: "greet", arguments: { pad: "x".repeat(pad) }, requestState: result?.requestState },
          }),
        ]).stream(),
        duplex: "half",
      } as RequestInit);
    expect((await send(11 * 1024 * 1024)).status).toBe(413);
    expect(await (await send(100_000)).json()).toMatchObject({ result: { state: expect.stringContaining("of ada") } });
  });

  test("finds room whatever another caller holds, who is refused more than their share", async () => {
    const token = await controlPlane.accessToken("greedy");
    /** Begins a call of 10 MiB, and sends 9 of them. */
    const begin = (): Promise<{ status: number; text: string } | "goes on"> =>
      new Promise((resolve) => {
        const sent = request(`${running.url}/mcp/asker/v1/mcp`, {
          method: "POST",
          headers: {
            authorization: `Bearer ${token}`,
            "content-type": "application/json",
            "content-length": 10 * MEBIBYTE,
            "mcp-protocol-version": "2026-07-28",
            "mcp-method": "tools/call",
            "mcp-name": "greet",
          },
        });
        begun.push(sent);
        sent
          .on("error", () => undefined)
          .on("response", (answer) => {
            let text = "";
            answer.on("data", (chunk: Buffer) => {
              text += chunk.toString();
              resolve({ status: answer.statusCode ?? 0, text });
            });
          });
        sent.write(Buffer.alloc(9 * MEBIBYTE, " "), () => resolve("goes on"));
      });
    const begun: ClientRequest[] = [];
    for (let calls = 0; calls < 3; calls += 1) await begin();
    const refused = await eventually("a refusal", async () => {
      const answer = await begin();
      return answer === "goes on" ? null : answer;
    });
    expect(refused.status).toBe(503);
    expect(refused.text).toContain("Large calls of yours");
    // Nor does an answer go on to them unsigned.
    for (const events of [false, true]) {
      const answer = await fetch(`${running.url}/mcp/asker/v1/mcp`, {
        method: "POST",
        headers: {
          authorization: `Bearer ${token}`,
          "content-type": "application/json",
          "mcp-protocol-version": "2026-07-28",
          "mcp-method": "tools/call",
          "mcp-name": "greet",
        },
        body: JSON.stringify({ jsonrpc: "2.0", id: 7, params: { arguments: { long: 6 * MEBIBYTE, events } } }),
      });
      expect(await answer.text()).toContain("no room here for what it said");
    }
    const { result } = await ask("ada", { arguments: { pad: "x".repeat(200_000) } });
    const next = await ask("ada", { arguments: {}, requestState: result?.requestState });
    expect(next.result?.state).toContain("of ada");
    for (const each of begun) each.destroy();
    // A caller that leaves makes room.
    await eventually("room", async () => {
      const answer = await begin();
      begun.at(-1)?.destroy();
      return answer === "goes on";
    });
  });

  test("of a replica that is gone is refused, in words, by the protocol", async () => {
    const { result } = await ask("ada");
    const route = routeTo(
      "asker",
      upstreams.map(({ url }) => url),
    );
    const targets = route.targets.map((target) => ({ ...target, replicaId: `new ${target.replicaId}` }));
    controlPlane.setRoutes([{ ...route, targets }]);
    const refusal = await eventually("new replicas", async () => {
      const answer = await ask("ada", { requestState: result?.requestState });
      return answer.error?.message.includes("gone") ? answer : null;
    });
    expect(refusal).toMatchObject({ id: 7, error: { code: -32602, data: { reason: "invalid_request_state" } } });
  });
});
