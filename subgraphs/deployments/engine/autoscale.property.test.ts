import fc from "fast-check";
import { expect, test } from "vitest";
import { deploymentOf } from "../deployment-fixture.ts";
import { createAutoscaler, neededReplicas, SCALE_DOWN_AFTER_MS } from "./autoscale.ts";

const bounds = fc
  .record({
    min: fc.integer({ min: 0, max: 4 }),
    more: fc.integer({ min: 0, max: 6 }),
    targetConcurrentCalls: fc.integer({ min: 1, max: 10 }),
    idleSeconds: fc.integer({ min: 1, max: 600 }),
  })
  .map(({ min, more, ...others }) => ({ min, max: Math.max(1, min + more), ...others }));
/** Milliseconds that pass, and the concurrent calls from then on. */
const steps = fc.array(fc.tuple(fc.integer({ min: 1, max: 90_000 }), fc.double({ min: 0, max: 99, noNaN: true })), {
  minLength: 1,
  maxLength: 40,
});

test("replicas are within the bounds, enough for every load at once, and fewer only once all load of the window needs no more", () => {
  fc.assert(
    fc.property(bounds, steps, fc.integer({ min: 0, max: 10 }), (autoscale, given, before) => {
      let now = 1_000_000;
      let calls = 0;
      const scaler = createAutoscaler({ callsOf: () => calls, now: () => now });
      const deployment = deploymentOf({ autoscale, everReady: true, status: "RUNNING", desiredReplicas: before });
      const idleMs = autoscale.idleSeconds * 1_000;
      const seen = [{ at: now, needed: before }];
      scaler.wanted(deployment);
      for (const [ms, next] of given) {
        now += ms;
        calls = next;
        const needed = neededReplicas(autoscale, calls);
        seen.push({ at: now, needed });
        const wanted = scaler.wanted({ ...deployment, desiredReplicas: before }) ?? -1;
        expect(wanted).toBeGreaterThanOrEqual(Math.max(autoscale.min, needed));
        expect(wanted).toBeLessThanOrEqual(autoscale.max);
        const within = (windowMs: number) => seen.filter(({ at }) => now - at < windowMs).map((each) => each.needed);
        const down = Math.max(0, ...within(Math.min(SCALE_DOWN_AFTER_MS, idleMs)));
        const last = Math.min(1, Math.max(0, ...within(idleMs)));
        expect(wanted).toBe(Math.min(autoscale.max, Math.max(autoscale.min, down, last)));
      }
    }),
  );
});

test("what never answered, failed or is to stop is not scaled; a clock that was set back keeps nothing for ever", () => {
  let now = 1_000_000_000;
  let calls = 99;
  const autoscale = { min: 0, max: 3, targetConcurrentCalls: 1, idleSeconds: 10 };
  const scaler = createAutoscaler({ callsOf: () => calls, now: () => now });
  const deployment = deploymentOf({ autoscale, everReady: true, status: "RUNNING" });
  expect(scaler.wanted({ ...deployment, everReady: false })).toBeNull();
  expect(scaler.wanted({ ...deployment, status: "FAILED" })).toBeNull();
  expect(scaler.wanted({ ...deployment, desired: "STOP" })).toBeNull();
  expect(scaler.wanted({ ...deployment, autoscale: null })).toBeNull();
  expect(scaler.wanted(deployment)).toBe(3);
  calls = 0;
  now -= 900_000_000;
  expect(scaler.wanted(deployment)).toBe(3);
  now += 10_000;
  expect(scaler.wanted(deployment)).toBe(0);
});
