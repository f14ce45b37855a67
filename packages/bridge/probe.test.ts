import { mkdtempSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "@toolyard/testing/eventually.ts";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { fixture, type RunningBridge, startBridge, stateless } from "./bridge.fixture.ts";

/* Busy, slow and hung servers, told apart. Each does one thing at a time. */

const TIMEOUT_SECONDS = 30;
let folder: string;
/** A file that lets what blocks go on. */
let gate: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "bridge-probe-"));
  gate = join(folder, "go");
});
afterEach(() => rm(folder, { recursive: true }));

/** What the probe says with so much time for an answer. */
async function probe(running: RunningBridge, seconds: number): Promise<unknown> {
  const { status, messages } = await running.post(
    { jsonrpc: "2.0", id: 1, method: "tools/list" },
    { "x-toolyard-probe": String(seconds) },
  );
  return messages[0]?.result?.["state"] ?? `${status}: ${messages[0]?.error?.message}`;
}

async function start(options: Parameters<typeof startBridge>[1] = {}, ...odd: string[]) {
  let ahead = 0;
  const running = await startBridge(fixture("one-thread", ...odd), {
    timeoutSeconds: TIMEOUT_SECONDS,
    now: () => Date.now() + ahead,
    ...options,
  });
  await eventually("a healthy bridge", () => running.bridge.health().ok);
  return {
    running,
    /** The clock jumps. */
    pass(seconds: number) {
      ahead += seconds * 1_000;
    },
    async [Symbol.asyncDispose]() {
      await running[Symbol.asyncDispose]();
    },
  };
}

type How = "by a session" | "without a session" | "of the stateless revision";
/** Begins a call; it can be given up. */
async function begin(
  running: RunningBridge,
  how: How,
  name: string,
): Promise<{ giveUp(): void; done: Promise<string> }> {
  const controller = new AbortController();
  const params = { name, arguments: { until: gate } };
  const session = how === "by a session" ? await running.openSession() : null;
  const call =
    how === "of the stateless revision"
      ? stateless("tools/call", params, { user: "alice" })
      : {
          body: { jsonrpc: "2.0", id: 7, method: "tools/call", params },
          headers: session === null ? {} : { "mcp-session-id": session },
        };
  const done = fetch(running.url, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      ...(call.headers as Record<string, string>),
    },
    body: JSON.stringify(call.body),
    signal: controller.signal,
  }).then((response) => response.text());
  done.catch(() => undefined);
  return { giveUp: () => controller.abort(), done };
}

const ways = (["by a session", "without a session", "of the stateless revision"] as const).flatMap((how) =>
  (["shared", "isolated"] as const).flatMap((sessions) => [[], ["both"]].map((odd) => ({ how, sessions, odd }))),
);

describe.each(ways)("a call $how to $sessions children, spoken $odd", ({ how, sessions, odd }) => {
  test("is no illness while its time lasts, also once its caller has left", async () => {
    await using started = await start({ sessions }, ...odd);
    const { running, pass } = started;
    const { giveUp, done } = await begin(running, how, "block");
    // It is not known when the server has it; from then on nothing is answered by it. Where it is the only one, that shows.
    if (sessions === "shared" && odd.length === 0)
      await eventually("the call in flight", async () => (await probe(running, 0.05)) === "busy");
    const seen = new Set<unknown>();
    for (let n = 0; n < 4; n += 1) seen.add(await probe(running, 0.2));
    pass(TIMEOUT_SECONDS - 10);
    giveUp();
    await done.catch(() => undefined);
    for (let n = 0; n < 4; n += 1) seen.add(await probe(running, 0.2));
    expect([...seen].filter((state) => state !== "busy" && state !== "answered")).toEqual([]);
    await writeFile(gate, "");
    await eventually("an answer", async () => (await probe(running, 5)) === "answered");
  });
});

describe.each([[], ["both"]])("the names of the server's tools, spoken %s", (...odd) => {
  const toolsOf = async (running: RunningBridge): Promise<unknown> => {
    const { messages } = await running.post(
      { jsonrpc: "2.0", id: 1, method: "tools/list" },
      { "x-toolyard-probe": "5" },
    );
    return messages[0]?.result?.["tools"];
  };

  test("are told with its answer", async () => {
    await using started = await start({ sessions: "shared" }, ...odd);
    expect(await toolsOf(started.running)).toEqual({ names: ["block", "hang", "pid"], isWhole: true });
  });

  test("are read from all pages of its list", async () => {
    await using started = await start({ sessions: "shared" }, "pages", ...odd);
    expect(await toolsOf(started.running)).toEqual({ names: ["page-0"], isWhole: false });
    const names = Array.from({ length: 20 }, (_, page) => `page-${page}`);
    await eventually(
      "all pages",
      async () => JSON.stringify(await toolsOf(started.running)) === JSON.stringify({ names, isWhole: true }),
    );
  });

  test("are told up to a bound of a list that does not end", async () => {
    await using started = await start({ sessions: "shared" }, "endless-pages", ...odd);
    await eventually(
      "the most that is told",
      async () => ((await toolsOf(started.running)) as { names: string[] }).names.length === 100,
    );
    expect(await toolsOf(started.running)).toMatchObject({ isWhole: false });
  });
});

describe("one child for all", () => {
  test("that hangs with nothing to do is silent", async () => {
    await using started = await start({ sessions: "shared" });
    const { running, pass } = started;
    expect(await (await begin(running, "by a session", "hang")).done).toContain("hang");
    expect(await probe(running, 0.3)).toBe("silent");
    // A question that is out for so long already is not waited for again, which would take longer than a test may.
    pass(600);
    expect(await probe(running, 600)).toBe("silent");
    // A call that comes behind the question is no excuse.
    await begin(running, "by a session", "pid");
    for (let n = 0; n < 3; n += 1) expect(await probe(running, 0.2)).toBe("silent");
    await writeFile(gate, "");
    await eventually("an answer", async () => (await probe(running, 5)) === "answered");
  });

  test("that hangs in a call past its time is silent, and the calls that came after it are no excuse", async () => {
    await using started = await start({ sessions: "shared" });
    const { running, pass } = started;
    await begin(running, "by a session", "block");
    await begin(running, "by a session", "pid");
    expect(await probe(running, 0.2)).toBe("busy");
    pass(TIMEOUT_SECONDS - 1);
    await begin(running, "by a session", "pid");
    pass(2);
    expect(await probe(running, 0.2)).toBe("silent");
  });

  test("whose callers leave early, one after the other, is not excused by that for ever", async () => {
    await using started = await start({ sessions: "shared" });
    const { running, pass } = started;
    expect(await (await begin(running, "by a session", "hang")).done).toContain("hang");
    for (let n = 0; n < 2; n += 1) {
      const { giveUp, done } = await begin(running, "without a session", "pid");
      await eventually("the call in flight", async () => (await probe(running, 0.05)) === "busy");
      pass(0.6 * TIMEOUT_SECONDS);
      giveUp();
      await done.catch(() => undefined);
    }
    await begin(running, "without a session", "pid");
    await eventually("that it is found", async () => (await probe(running, 0.2)) === "silent");
  });
});

test("of many children the one that hangs is ended, and the others go on", async () => {
  await using started = await start({ sessions: "isolated" });
  const { running } = started;
  const good = await running.openSession();
  const pid = await running.callTool("pid", {}, good);
  const bad = await running.openSession();
  await running.callTool("hang", { until: gate }, bad);
  await eventually("its end", async () => {
    expect(await probe(running, 0.2)).toBe("answered");
    const { status } = await running.post({ jsonrpc: "2.0", id: 9, method: "ping" }, { "mcp-session-id": "none" });
    expect(status).toBe(404);
    return running.log.some(({ text }) => text.includes("has not answered tools/list for 0.2 s and is ended"));
  });
  await eventually("no session", () => running.bridge.health().body["sessions"] === 1);
  expect(await running.callTool("pid", {}, good)).toBe(pid);
});

test("many children that hang are not taken for all", async () => {
  await using started = await start({ sessions: "isolated" });
  const { running } = started;
  const good = await running.openSession();
  for (let n = 0; n < 4; n += 1) await running.callTool("hang", { until: gate }, await running.openSession());
  expect(await probe(running, 3)).toBe("answered");
  expect(await running.callTool("pid", {}, good)).toMatch(/^\d+$/);
});

test("a list that takes long is slow, not dead", async () => {
  await using started = await start({ sessions: "shared" }, "slow-list:600");
  expect(await probe(started.running, 10)).toBe("answered");
});
