import { EventEmitter } from "node:events";
import { createLogger } from "@toolyard/service-kit";
import { expect, test, vi } from "vitest";
import type { DeploymentRoute } from "../routing/routes.ts";
import { createSharedBudget } from "./budget.ts";
import type { Call } from "./call.ts";
import { createOfferAnswers } from "./offer-answer.ts";

const meta = {
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientCapabilities": {},
};
const content = Buffer.from(JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list", params: { _meta: meta } }));
const offer = {
  discovered: { capabilities: { tools: {} } },
  tools: [{ name: "wait" }],
  prompts: null,
  resources: null,
  resourceTemplates: null,
};

function ask(answer: ReturnType<typeof createOfferAnswers>) {
  const written: unknown[] = [];
  const response = Object.assign(new EventEmitter(), {
    writeHead: () => undefined,
    write: (part: unknown) => written.push(part),
    end: () => undefined,
    destroy: vi.fn(() => void response.emit("close")),
  });
  const headers = { "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/list" };
  // Of a call and a deployment, only these are looked at.
  const call = {
    request: { method: "POST", headers },
    response,
    path: { path: "/mcp", query: "" },
    body: { content },
    corsHeaders: [],
  } as unknown as Call;
  const deployment = { offer: "1", demand: { wake: () => undefined }, mcpPathname: "/mcp" } as DeploymentRoute;
  expect(answer(call, deployment, () => expect.unreachable())).toBe(true);
  return { written, response };
}

test("a list is printed once for all who ask, and a client that does not read it to its end is cut off", async () => {
  vi.useFakeTimers();
  try {
    const answer = createOfferAnswers({
      offers: { of: () => Promise.resolve(offer) },
      held: createSharedBudget(1_048_576),
      refuse: () => expect.unreachable(),
      isDraining: () => false,
      logger: createLogger({ level: "silent", name: "proxy" }),
    });
    const [one, other] = [ask(answer), ask(answer)];
    await vi.advanceTimersByTimeAsync(119_000);
    expect(JSON.parse(one.written.map(String).join(""))).toMatchObject({
      id: 1,
      result: { tools: [{ name: "wait" }] },
    });
    const list = one.written.find((part) => Buffer.isBuffer(part));
    expect(list).toBeDefined();
    expect(other.written).toContain(list);
    other.response.emit("close");
    await vi.advanceTimersByTimeAsync(2_000);
    expect(one.response.destroy).toHaveBeenCalledOnce();
    expect(other.response.destroy).not.toHaveBeenCalled();
    expect(vi.getTimerCount()).toBe(0);
  } finally {
    vi.useRealTimers();
  }
});
