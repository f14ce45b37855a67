import { eventually } from "@toolyard/testing/eventually.ts";
import { expect, test } from "vitest";

import { fixture, startBridge } from "../bridge.fixture.ts";

/** A server, or what it started, prints without end. */

const linesPerSecond = 1_000;

test.each(["stderr", "stdout"])(
  "what floods %s is logged in bounded measure, and the log says what is left out",
  async (stream) => {
    const began = performance.now();
    await using running = await startBridge(fixture("server", `floods-${stream}`));
    const isTold = () =>
      running.log.some(({ text }) => text.includes(`of the server's ${stream} within a second are left out`));
    await eventually("the flood to be told", isTold);
    const seconds = Math.ceil((performance.now() - began) / 1_000) + 1;
    expect(running.log.filter((line) => line.stream === stream.toUpperCase()).length).toBeLessThanOrEqual(
      seconds * linesPerSecond,
    );
  },
);

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
