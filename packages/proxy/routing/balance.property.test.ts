import { BALANCES, type Balance } from "@toolyard/routes/balances.ts";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { pickReplica, type Candidate } from "./balance.ts";

const replica = fc.record({
  id: fc.uuid(),
  ready: fc.boolean(),
  outstanding: fc.nat(20),
  turn: fc.nat(20),
  tripped: fc.boolean(),
});
const deployments = fc.array(
  fc.record({
    weight: fc.integer({ min: 0, max: 100 }),
    balance: fc.constantFrom(...BALANCES),
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
        const picked = pickReplica(routes, { now: 0, caller: "ada", random: sequence(numbers), tried });
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
        const picked = pickReplica(routes, { now: 0, caller: "ada", random: sequence(numbers) });
        if (!picked?.replica.health.isTripped(0)) return;
        expect(picked.deployment.replicas.filter(({ ready, tripped }) => ready && !tripped)).toEqual([]);
      }),
    );
  });

  test("a weight of 0 gets nothing while another deployment that has a weight can answer", () => {
    fc.assert(
      fc.property(deployments, randoms, (routes, numbers) => {
        const picked = pickReplica(routes, { now: 0, caller: "ada", random: sequence(numbers) });
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
          { id: "a", ready: true, outstanding: a, turn: 0, health },
          { id: "b", ready: true, outstanding: b, turn: 0, health },
        ];
        const picked = pickReplica([{ weight: 1, balance: "LEAST_OUTSTANDING", replicas }], {
          now: 0,
          caller: "ada",
          random: sequence(numbers),
        });
        expect(picked?.replica.outstanding).toBe(Math.min(a, b));
      }),
    );
  });

  const ids = fc.uniqueArray(fc.uuid(), { minLength: 2, maxLength: 16 });
  const among = (balance: Balance, replicas: readonly Candidate[], caller: string) =>
    pickReplica([{ weight: 100, balance, replicas }], { now: 0, caller, random: () => 0 })?.replica;
  const readyOf = (id: string) => ({ id, ready: true, outstanding: 0, turn: 0, health: { isTripped: () => false } });

  test("in turn, each replica gets one call before any gets a second, also those that come in between", () => {
    fc.assert(
      fc.property(ids, fc.nat(40), (all, before) => {
        const replicas = all.map(readyOf);
        let turns = 0;
        const calls = (count: number, open: typeof replicas) =>
          Array.from({ length: count }, () => {
            const picked = open.find((each) => each === among("ROUND_ROBIN", open, "ada"));
            if (picked) picked.turn = turns += 1;
            return picked?.id;
          });
        calls(before, replicas.slice(1));
        expect(new Set(calls(all.length, replicas)).size).toBe(all.length);
      }),
    );
  });

  test("sticky, a caller stays with a replica while it serves: only callers of one that goes move, and only to one that comes", () => {
    fc.assert(
      fc.property(ids, fc.array(fc.string(), { minLength: 1, maxLength: 20 }), fc.nat(15), (all, callers, index) => {
        const replicas = all.map(readyOf);
        const without = replicas.filter((_, each) => each !== index % all.length);
        for (const caller of callers) {
          const home = among("STICKY", replicas, caller);
          expect(among("STICKY", replicas.toReversed(), caller)).toBe(home);
          const elsewhere = among("STICKY", without, caller);
          if (home && without.some((each) => each === home)) expect(elsewhere).toBe(home);
        }
      }),
    );
  });

  test("sticky callers are spread evenly", () => {
    const replicas = ["a", "b", "c", "d"].map(readyOf);
    const homes = Array.from({ length: 4_000 }, (_, caller) => among("STICKY", replicas, `user-${caller}`)?.id);
    for (const { id } of replicas) {
      const share = homes.filter((home) => home === id).length;
      expect(share).toBeGreaterThan(850);
      expect(share).toBeLessThan(1_150);
    }
  });
});
