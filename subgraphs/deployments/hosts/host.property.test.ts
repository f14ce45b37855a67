import fc from "fast-check";
import { expect, test } from "vitest";
import { contactAt, isGone, isHeld, type Contact } from "./host.ts";

const LEASE_MS = 30_000;
const BEAT_MS = LEASE_MS / 3;

/** A leader that beats, and what another host's lease says each time that it does; null while the store is away. */
function lead(steps: readonly { isAway: boolean; isAlive: boolean; jumpMs: number }[]) {
  let clock = 1_000_000_000;
  let leaseUntil = clock + LEASE_MS;
  let contact: Contact | null = null;
  return steps.map(({ isAway, isAlive, jumpMs }) => {
    clock += BEAT_MS + jumpMs;
    if (isAway) return (contact = null);
    contact = contactAt(clock, contact, LEASE_MS);
    // Before the other host has its turn, which is the worst for it.
    const gone = isGone({ leaseUntil }, contact, LEASE_MS);
    if (isAlive) leaseUntil = clock + LEASE_MS;
    return gone;
  });
}
const alive = { isAway: false, isAlive: true, jumpMs: 0 };

test("a host that renews its lease whenever it can is never given up, however the store goes away and its clock is set", () => {
  const step = fc.record({
    isAway: fc.boolean(),
    isAlive: fc.constant(true),
    jumpMs: fc.oneof({ weight: 5, arbitrary: fc.constant(0) }, fc.integer({ min: -3_600_000, max: 3_600_000 })),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      expect(lead(steps)).not.toContain(true);
    }),
  );
});

test("a host that is dead is given up once the store was there for a lease and a half", () => {
  const step = fc.record({
    isAway: fc.boolean(),
    isAlive: fc.boolean(),
    jumpMs: fc.integer({ min: -90_000, max: 90_000 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 20 }), (before) => {
      const dead = Array.from({ length: 5 }, () => ({ ...alive, isAlive: false }));
      // A lease that a jump left far ahead is none.
      expect(lead([...before, alive, ...dead]).at(-1)).toBe(true);
    }),
  );
});

test("a lease is held before its end, also one that was renewed since the time was asked for, and not when it reaches further than one can", () => {
  expect(isHeld({ leaseUntil: 11 }, 10, 5)).toBe(true);
  expect(isHeld({ leaseUntil: 16 }, 10, 5)).toBe(true);
  expect(isHeld({ leaseUntil: 10 }, 10, 5)).toBe(false);
  expect(isHeld({ leaseUntil: 21 }, 10, 5)).toBe(false);
});
