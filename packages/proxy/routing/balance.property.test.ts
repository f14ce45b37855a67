import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { pickReplica } from "./balance.ts";

const replica = fc.record({
  id: fc.uuid(),
  ready: fc.boolean(),
  outstanding: fc.nat(20),
  tripped: fc.boolean(),
});
const deployments = fc.array(
  fc.record({
    weight: fc.integer({ min: 0, max: 100 }),
    replicas: fc.array(
      replica.map(({ tripped, ...rest }) => ({ ...rest, tripped, health: { isTripped: () => tripped } })),
      { maxLength: 5 },
    ),
  }),
  { maxLength: 4 },
);
/** Numbers as Math.random gives them, repeated. */
const randoms = fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), { minLength: 1, maxLength: 6 });
const sequence = (numbers: readonly number[]) => {
  let at = 0;
  return () => numbers[at++ % numbers.length] ?? 0;
};

describe("balance", () => {
  test("something ready is found whenever there is one, and nothing that is not ready or was tried ever is", () => {
    fc.assert(
      fc.property(deployments, randoms, fc.func(fc.boolean()), (routes, numbers, wasTried) => {
        const all = routes.flatMap(({ replicas }) => replicas);
        const tried = new Set(all.filter(({ id }) => wasTried(id)).map(({ id }) => id));
        const picked = pickReplica(routes, { now: 0, random: sequence(numbers), tried });
        const open = all.filter(({ id, ready }) => ready && !tried.has(id));
        expect(picked === null).toBe(open.length === 0);
        if (!picked) return;
        expect(open).toContain(picked.replica);
        expect(picked.deployment.replicas).toContain(picked.replica);
      }),
    );
  });

  test("a tripped replica is left out while its deployment has another, and is never left out when it is the last", () => {
    fc.assert(
      fc.property(deployments, randoms, (routes, numbers) => {
        const picked = pickReplica(routes, { now: 0, random: sequence(numbers) });
        if (!picked?.replica.health.isTripped(0)) return;
        expect(picked.deployment.replicas.filter(({ ready, tripped }) => ready && !tripped)).toEqual([]);
      }),
    );
  });

  test("a weight of 0 gets nothing while another deployment that has a weight can answer", () => {
    fc.assert(
      fc.property(deployments, randoms, (routes, numbers) => {
        const picked = pickReplica(routes, { now: 0, random: sequence(numbers) });
        if (picked?.deployment.weight !== 0) return;
        expect(routes.filter(({ weight, replicas }) => weight > 0 && replicas.some(({ ready }) => ready))).toEqual([]);
      }),
    );
  });

  test("of two replicas the less busy one is chosen", () => {
    fc.assert(
      fc.property(fc.nat(50), fc.nat(50), randoms, (a, b, numbers) => {
        const health = { isTripped: () => false };
        const replicas = [
          { id: "a", ready: true, outstanding: a, health },
          { id: "b", ready: true, outstanding: b, health },
        ];
        const picked = pickReplica([{ weight: 1, replicas }], { now: 0, random: sequence(numbers) });
        expect(picked?.replica.outstanding).toBe(Math.min(a, b));
      }),
    );
  });
});
