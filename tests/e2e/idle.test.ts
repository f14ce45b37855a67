/** What Toolyard costs a machine on which nobody uses it. */
/* oxlint-disable no-restricted-imports, no-restricted-properties -- a rate is of a time; a busy machine only lowers it */
import { setTimeout as delay } from "node:timers/promises";
import { eventually, processesWith, sleepsOf, startToolyard } from "@toolyard/testing";
import { embeddedOnly } from "@toolyard/testing/mode.ts";
import { expect, test } from "vitest";

const WINDOW_MS = 2_000;

test.skipIf(process.platform !== "linux" || embeddedOnly("what the embedded default costs at rest"))(
  "idle, all its processes together wake less than 30 times a second",
  async () => {
    await using toolyard = await startToolyard({ env: { SAMPLE: "true" } });
    const pids = await eventually("the sample's replica", async () => {
      const found = await processesWith(toolyard.dataDir);
      // Gateway, planner, proxy, the replica's bridge and its server.
      return found.length >= 5 ? [...new Set([...found, toolyard.process.pid ?? 0])] : null;
    });
    // What a start leaves to be done passes, and one of these windows is without it, however busy the machine is.
    const rate = await eventually(
      "a quiet moment",
      async () => {
        const before = await sleepsOf(pids);
        const startedAt = performance.now();
        await delay(WINDOW_MS);
        const perSecond = ((await sleepsOf(pids)) - before) / ((performance.now() - startedAt) / 1_000);
        return perSecond < 30 ? { perSecond } : null;
      },
      60_000,
    );
    expect(rate.perSecond).toBeGreaterThan(0);
  },
  120_000,
);
