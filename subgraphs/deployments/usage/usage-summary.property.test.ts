import fc from "fast-check";
import { expect, test } from "vitest";
import { RELATIVE_ERROR } from "./histogram.ts";
import { NOON, anybody, call, createUsageFixture } from "./usage-fixture.ts";
import type { UsageWindow } from "./usage-window.ts";

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const windows: Record<UsageWindow, { stepMs: number; steps: number }> = {
  HOUR: { stepMs: MINUTE, steps: 60 },
  DAY: { stepMs: 60 * MINUTE, steps: 24 },
  WEEK: { stepMs: 6 * 60 * MINUTE, steps: 28 },
  MONTH: { stepMs: DAY, steps: 30 },
};

interface Call {
  at: number;
  toolId: string;
  deploymentId: string;
  mcpTool: string | null;
  statusCode: number;
  mcpFailure: string | null;
  responseTimeMs: number;
}
/** Times stand close to the bounds of steps and windows, where they are most likely to be counted wrongly. */
const age = fc.oneof(
  fc.integer({ min: 0, max: 32 * DAY }),
  fc
    .tuple(fc.constantFrom(MINUTE, 60 * MINUTE, 6 * 60 * MINUTE, DAY), fc.nat(31), fc.integer({ min: -2, max: 2 }))
    .map(([step, count, off]) => Math.max(0, (NOON % step) + count * step + off)),
);
const calls: fc.Arbitrary<Call> = fc
  .record({
    age,
    place: fc.constantFrom(["tool-1", "a"], ["tool-1", "b"], ["tool-2", "c"]),
    mcpTool: fc.constantFrom(null, "forecast", "alerts", "line\nbreak", "deep \u{1F30A}"),
    statusCode: fc.constantFrom(200, 404, 502),
    mcpFailure: fc.constantFrom(null, "RPC_ERROR", "TOOL_ERROR"),
    responseTimeMs: fc.double({ min: 0.01, max: 100_000, noNaN: true }),
  })
  .map(({ age, place: [toolId = "", deploymentId = ""], ...rest }) => ({
    at: NOON - age,
    toolId,
    deploymentId,
    ...rest,
  }));

const counts = (some: readonly Call[]) => ({
  calls: some.length,
  errors: some.filter(({ statusCode }) => statusCode >= 400).length,
  mcpFailures: some.filter(({ mcpFailure }) => mcpFailure !== null).length,
});

function expectQuantile(told: number | null, some: readonly Call[], quantile: number): void {
  const sorted = some.map(({ responseTimeMs }) => responseTimeMs).toSorted((a, b) => a - b);
  const exact = sorted[Math.max(1, Math.ceil(quantile * sorted.length)) - 1];
  if (exact === undefined) return expect(told).toBeNull();
  expect(Math.abs((told ?? Infinity) - exact)).toBeLessThanOrEqual(exact * RELATIVE_ERROR * 1.000_001);
}

test("summaries are what the calls themselves add up to, in whatever batches they came", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(calls, { maxLength: 12 }), { maxLength: 5 }), async (batches) => {
      await using fixture = await createUsageFixture();
      for (const batch of batches) await fixture.record(batch.map((one) => call({ ...one })));
      for (const [window, { stepMs, steps }] of Object.entries(windows)) {
        const first = Math.floor(NOON / stepMs) * stepMs - (steps - 1) * stepMs;
        const asked = { tools: ["tool-2", "tool-1", "tool-3"], deployments: ["b", "a"] };
        const told = [
          await fixture.service.summaries(anybody, { by: "toolId", ids: asked.tools }, window as UsageWindow),
          await fixture.service.summaries(
            anybody,
            { by: "deploymentId", ids: asked.deployments },
            window as UsageWindow,
          ),
        ].flat();
        const subjects = [...asked.tools, ...asked.deployments];
        for (const [index, subject] of subjects.entries()) {
          const mine = batches
            .flat()
            .filter(({ at, toolId, deploymentId }) => [toolId, deploymentId].includes(subject) && at >= first);
          const summary = told[index];
          if (!summary) throw new Error("There is none.");
          expect(summary).toMatchObject(counts(mine));
          expectQuantile(summary.p50Ms, mine, 0.5);
          expectQuantile(summary.p99Ms, mine, 0.99);
          expect(summary.series.map(({ at }) => at)).toEqual(
            Array.from({ length: steps }, (_, step) => first + step * stepMs),
          );
          for (const { at, p95Ms, ...step } of summary.series) {
            const then = mine.filter((one) => Math.floor(one.at / stepMs) * stepMs === at);
            expect(step).toEqual(counts(then));
            expectQuantile(p95Ms, then, 0.95);
          }
          const names = [...new Set(mine.flatMap(({ mcpTool }) => mcpTool ?? []))];
          expect(summary.byMcpTool.map(({ mcpTool }) => mcpTool).toSorted()).toEqual(names.toSorted());
          for (const { mcpTool, p95Ms, ...tool } of summary.byMcpTool) {
            const ofIt = mine.filter((one) => one.mcpTool === mcpTool);
            expect(tool).toEqual(counts(ofIt));
            expectQuantile(p95Ms, ofIt, 0.95);
          }
        }
      }
    }),
    { numRuns: 25 },
  );
});
