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
      scaler.wanted(deployment, null);
      for (const [ms, next] of given) {
        now += ms;
        calls = next;
        const needed = neededReplicas(autoscale, calls);
        seen.push({ at: now, needed });
        const wanted = scaler.wanted({ ...deployment, desiredReplicas: before }, null) ?? -1;
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

test("what is to take over has what the load of the other needs, also while that is high for a moment only, and keeps it for a while once it has the route", () => {
  fc.assert(
    fc.property(
      bounds,
      bounds,
      steps,
      fc.integer({ min: 1, max: 4 }),
      fc.boolean(),
      (own, others, given, first, isReady) => {
        let now = 1_000_000;
        let calls = 0;
        const fixed = deploymentOf({ desiredReplicas: 3, role: "ACTIVE", everReady: true });
        const replaced = deploymentOf({ autoscale: others, role: "ACTIVE", everReady: true });
        const scaler = createAutoscaler({ callsOf: (id) => (id === replaced.id ? calls : 0), now: () => now });
        const desiredReplicas = Math.min(own.max, first);
        let deployment = deploymentOf({ autoscale: own, role: "PENDING", everReady: isReady, desiredReplicas });
        for (const [ms, next] of given) {
          now += ms;
          calls = next;
          const wanted = scaler.wanted(deployment, replaced) ?? -1;
          expect(wanted).toBe(Math.max(deployment.desiredReplicas, neededReplicas(own, calls)));
          expect(wanted).toBeLessThanOrEqual(own.max);
          deployment = { ...deployment, desiredReplicas: wanted };
        }
        expect(scaler.wanted(deployment, fixed)).toBe(Math.max(deployment.desiredReplicas, Math.min(own.max, 3)));
        const active = { ...deployment, role: "ACTIVE" as const, everReady: true, status: "RUNNING" as const };
        expect(scaler.wanted(active, null)).toBe(active.desiredReplicas);
        now += Math.min(SCALE_DOWN_AFTER_MS, own.idleSeconds * 1_000) - 1;
        expect(scaler.wanted(active, null)).toBe(active.desiredReplicas);
      },
    ),
  );
});

test("what never answered, failed or is to stop is not scaled; a clock that was set back keeps nothing for ever", () => {
  let now = 1_000_000_000;
  let calls = 99;
  const autoscale = { min: 0, max: 3, targetConcurrentCalls: 1, idleSeconds: 10 };
  const scaler = createAutoscaler({ callsOf: () => calls, now: () => now });
  const deployment = deploymentOf({ autoscale, everReady: true, status: "RUNNING" });
  expect(scaler.wanted({ ...deployment, everReady: false }, null)).toBeNull();
  expect(scaler.wanted({ ...deployment, status: "FAILED" }, null)).toBeNull();
  expect(scaler.wanted({ ...deployment, desired: "STOP" }, null)).toBeNull();
  expect(scaler.wanted({ ...deployment, autoscale: null }, null)).toBeNull();
  expect(scaler.wanted(deployment, null)).toBe(3);
  calls = 0;
  now -= 900_000_000;
  expect(scaler.wanted(deployment, null)).toBe(3);
  now += 10_000;
  expect(scaler.wanted(deployment, null)).toBe(0);
});
