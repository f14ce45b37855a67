import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { BridgeOptions } from "./bridge.ts";
import { fixture, startBridge, type RunningBridge } from "./bridge.fixture.ts";
import { INTERFACE_PATH, readInterface, type InterfaceReading } from "./interface.ts";
import { SPANS_PATH } from "./tracing/trace-header.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "toolyard-interface-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function offering(offer: object, options: Partial<BridgeOptions> = {}): Promise<RunningBridge> {
  const file = join(folder, "offer.json");
  await writeFile(file, JSON.stringify(offer));
  const running = await startBridge(fixture("offers", file), options);
  await expect.poll(() => running.bridge.health().ok).toBe(true);
  return running;
}
async function interfaceOf({ url }: RunningBridge): Promise<InterfaceReading> {
  const response = await fetch(new URL(INTERFACE_PATH, url));
  expect(response.status).toBe(200);
  return (await response.json()) as InterfaceReading;
}
const named = (...names: string[]) => names.map((name) => ({ name }));

describe("a bridge tells what its server offers", () => {
  test("all pages of what it says that it has, and asks for nothing else", async () => {
    await using running = await offering({
      instructions: "be kind",
      capabilities: { tools: {}, resources: {} },
      lists: {
        "tools/list": [named("a", "b"), named("c")],
        "resources/list": [[{ uri: "file:///a", size: 3 }]],
        "resources/templates/list": [[]],
      },
    });
    expect(await interfaceOf(running)).toEqual({
      instructions: "be kind",
      tools: named("a", "b", "c"),
      prompts: [],
      resources: [{ uri: "file:///a", size: 3 }],
      resourceTemplates: [],
      problems: [],
      discovered: expect.objectContaining({
        supportedVersions: ["2026-07-28"],
        capabilities: { tools: {}, resources: {} },
        instructions: "be kind",
      }),
    });
  });

  test.each([
    ["GET", INTERFACE_PATH],
    ["POST", SPANS_PATH],
    ["GET", "/status"],
  ])("and has nothing for callers of a proxy at %s %s", async (method, path) => {
    await using running = await startBridge(fixture("both-eras"));
    const ask = (headers: Record<string, string>) => fetch(new URL(path, running.url), { method, headers });
    expect((await ask({ "x-forwarded-for": "192.0.2.7" })).status).toBe(404);
    expect((await ask({})).status).toBe(200);
  });

  test.each([
    ["both-eras", "echo"],
    ["stateless-only", "greet"],
  ])("of whichever era: %s", async (name, tool) => {
    await using running = await startBridge(fixture(name));
    await expect.poll(() => running.bridge.health().ok).toBe(true);
    const { tools, problems } = await interfaceOf(running);
    expect(tools?.map((each) => each["name"])).toContain(tool);
    expect(problems).toEqual([]);
  });

  test("and the first session gets the process that is asked", async () => {
    await using running = await offering(
      { lists: { "tools/list": [named("pid")] }, waitMs: 100 },
      { spare: false, blankWaitMs: 60_000 },
    );
    const reading = interfaceOf(running);
    await expect.poll(() => running.log.map(({ text }) => text)).toContain("tools/list");
    await running.openSession();
    expect(running.bridge.health().body).toMatchObject({ children: 1, sessions: 1 });
    expect((await reading).tools).toEqual(named("pid"));
  });

  test("where the first session waits no longer than a little for a list that takes long", async () => {
    await using running = await offering({ lists: { "tools/list": [named("pid")] }, silent: ["tools/list"] });
    const reading = interfaceOf(running).catch(() => undefined);
    await running.callTool("pid", {}, await running.openSession());
    await running.bridge.close(0);
    await reading;
  });
});

describe("lists", () => {
  const ask = (answers: Record<string, unknown>) => async (method: string) => {
    if (!(method in answers)) throw new Error("a secret of the server");
    return { bytes: 10, ...(answers[method] as object) };
  };
  const capabilities = { tools: {}, prompts: {}, resources: {} };

  test("that are not answered, or by an error, are not known, without words of the server; others are", async () => {
    const reading = await readInterface({
      capabilities,
      instructions: 7,
      ask: ask({
        "tools/list": { result: { tools: [{ name: "a" }, 7, null, []] } },
        "prompts/list": { error: { code: -32603, message: "a secret of the server" } },
        "resources/templates/list": { error: { code: -32601 } },
      }),
    });
    expect(reading).toEqual({
      instructions: null,
      tools: [{ name: "a" }],
      prompts: null,
      resources: null,
      resourceTemplates: [],
      problems: ["prompts/list was answered with an error.", "resources/list was not answered."],
    });
  });

  test("that do not end, by pages or by bytes, are given up, whatever the cursor", async () => {
    let asked = 0;
    const endless = (bytes: number) =>
      readInterface({
        capabilities: { prompts: {} },
        instructions: null,
        async ask() {
          asked += 1;
          return { result: { prompts: [{}], nextCursor: "the same" }, bytes };
        },
      });
    expect((await endless(10)).problems).toEqual(["prompts/list has more than 100 pages."]);
    expect(asked).toBe(100);
    asked = 0;
    expect(await endless(100_000)).toMatchObject({
      prompts: null,
      problems: ["prompts/list is longer than 256 KiB."],
    });
    expect(asked).toBe(3);
  });
});
