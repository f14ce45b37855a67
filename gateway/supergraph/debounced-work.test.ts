import { expect, test } from "vitest";
import { createDebouncedWork } from "./debounced-work.ts";

test("is done once for what is asked for together, again for what is asked for meanwhile, never twice at once", async () => {
  const runs: PromiseWithResolvers<void>[] = [];
  let atOnce = 0;
  const work = createDebouncedWork({
    settleMs: 5,
    async work() {
      atOnce += 1;
      expect(atOnce).toBe(1);
      const run = Promise.withResolvers<void>();
      runs.push(run);
      await run.promise;
      atOnce -= 1;
    },
  });
  for (let i = 0; i < 5; i++) work.request();
  await expect.poll(() => runs).toHaveLength(1);
  work.request();
  work.request();
  runs[0]?.resolve();
  await expect.poll(() => runs).toHaveLength(2);
  runs[1]?.resolve();
  await expect.poll(() => atOnce).toBe(0);
  work.request();
  await expect.poll(() => runs).toHaveLength(3);
  runs[2]?.resolve();
  await work.close();
});

test("closing aborts the work under way, waits for its end, and does no more", async () => {
  const seen: string[] = [];
  const work = createDebouncedWork({
    settleMs: 1,
    async work(signal) {
      seen.push("began");
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
      seen.push("ended");
    },
  });
  work.request();
  await expect.poll(() => seen).toEqual(["began"]);
  work.request();
  await work.close();
  work.request();
  await work.close();
  expect(seen).toEqual(["began", "ended"]);
});
