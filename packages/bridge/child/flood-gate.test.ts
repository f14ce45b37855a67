import { PassThrough } from "node:stream";
import { eventually } from "@toolyard/testing/eventually.ts";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { fixture, startBridge } from "../bridge.fixture.ts";
import { createFloodGate } from "./flood-gate.ts";

/** A server, or what it started, prints without end. */

describe("of the lines of one stream", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  function start() {
    const stream = new PassThrough().resume();
    const leftOut: number[] = [];
    const gate = createFloodGate({ stream, onLeftOut: (lines) => leftOut.push(lines) });
    const print = (lines: number, characters = 10) =>
      Array.from({ length: lines }, () => gate.admits(characters)).filter(Boolean).length;
    return { stream, leftOut, gate, print };
  }

  test("a thousand a second are logged, it is told how many were left out, and a flood is not read on", () => {
    const { stream, leftOut, print } = start();
    expect(print(20_000)).toBe(1_000);
    expect(stream.isPaused()).toBe(false);
    expect(print(1)).toBe(0);
    expect(stream.isPaused()).toBe(true);
    vi.advanceTimersByTime(999);
    expect([leftOut, stream.isPaused()]).toEqual([[], true]);
    vi.advanceTimersByTime(1);
    expect([leftOut, stream.isPaused()]).toEqual([[19_001], false]);
    expect(print(1_000)).toBe(1_000);
    vi.advanceTimersByTime(1_000);
    expect(leftOut).toEqual([19_001]);
  });

  test("few that are long are as many that are short", () => {
    const { stream, print } = start();
    expect(print(4, 1024 * 1024)).toBe(4);
    expect(stream.isPaused()).toBe(false);
    print(1, 1);
    expect(stream.isPaused()).toBe(true);
  });

  test("the rest is read when the server has ended", () => {
    const { stream, leftOut, gate, print } = start();
    print(30_000);
    gate.open();
    expect([leftOut, stream.isPaused()]).toEqual([[29_000], false]);
    print(30_000);
    expect(stream.isPaused()).toBe(false);
  });
});

test.each(["stderr", "stdout"])("the log says what is left out of a flood of %s", async (stream) => {
  await using running = await startBridge(fixture("server", `floods-${stream}`));
  await eventually("the flood to be told", () =>
    running.log.some(({ text }) => text.includes(`of the server's ${stream} within a second are left out`)),
  );
});

test("calls are answered while the server's stderr is flooded", async () => {
  await using running = await startBridge(fixture("server", "floods-stderr"));
  const session = await running.openSession();
  for (let call = 0; call < 20; call += 1)
    expect(await running.callTool("echo", { message: `${call}` }, session)).toBe(`${call}`);
});

test("the last words of a server that flooded its stderr are read", async () => {
  await using running = await startBridge(fixture("server", "floods-stderr"));
  const session = await running.openSession();
  await expect(running.callTool("die", {}, session)).rejects.toThrow();
  await eventually("its end", () => running.log.some(({ text }) => text.includes("exited with code 7")));
});

test("a line of 200 MB on stderr is left out, which the log says, and is not held", async () => {
  await using running = await startBridge(fixture("server"));
  const session = await running.openSession();
  let most = 0;
  const before = process.memoryUsage.rss();
  const watch = setInterval(() => (most = Math.max(most, process.memoryUsage.rss() - before)), 5);
  try {
    expect(await running.callTool("printsLong", { characters: 200_000_000 }, session)).toBe("printed");
    await eventually("the line after it", () => running.log.some(({ text }) => text === "the next line"));
  } finally {
    clearInterval(watch);
  }
  expect(running.log.map(({ text }) => text)).toContain("a line on the server's stderr was over 1 MiB and is left out");
  expect(Math.max(...running.log.map(({ text }) => text.length))).toBeLessThan(1_000);
  expect(most).toBeLessThan(120_000_000);
});
