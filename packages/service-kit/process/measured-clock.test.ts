import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { clockHealth, createMeasuredClock } from "./measured-clock.ts";

const START = 1_800_000_000_000;
/** Milliseconds since the start, by the monotonic clock; how far the own and the followed clock are ahead; how long an answer takes. */
let passed: number;
let own: number;
let followed: number;
let tookMs: number;
let asked: number;

beforeEach(() => {
  vi.useFakeTimers();
  [passed, own, followed, tookMs, asked] = [0, 0, 0, 0, 0];
});
afterEach(() => void vi.useRealTimers());

const create = () =>
  createMeasuredClock({
    async ask() {
      asked += 1;
      passed += tookMs / 2;
      const told = START + passed + followed;
      passed += tookMs / 2;
      return told;
    },
    own: () => START + passed + own,
    monotonic: () => passed,
  });

test("is this host's own until it was measured, and then the one that is followed, however far they are apart", async () => {
  for (const aheadMs of [120_000, -120_000]) {
    own = aheadMs;
    const clock = create();
    expect(clock.now()).toBe(START + passed + own);
    expect(clock.aheadMs()).toBe(0);
    await clock.measure();
    expect(clock.now()).toBe(START + passed);
    expect(clock.aheadMs()).toBe(aheadMs);
    passed += 60_000;
    expect(clock.now()).toBe(START + passed);
  }
});

test("does not jump with this host's clock, and measures anew then", async () => {
  const clock = create();
  await clock.measure();
  own = 3_600_000;
  expect(clock.now()).toBe(START + passed);
  expect(asked).toBe(2);
  clock.now();
  expect(asked).toBe(2);
  expect(clock.aheadMs()).toBe(3_600_000);
});

test("goes by the answer that came fastest, until one shows that the clock was set", async () => {
  const clock = create();
  tookMs = 10;
  await clock.measure();
  const error = () => clock.now() - START - passed;
  expect(error()).toBe(0);
  followed = 40;
  tookMs = 100;
  await clock.measure();
  expect(error()).toBe(0);
  followed = -3_600_000;
  await clock.measure();
  expect(error()).toBe(-3_600_000);
});

test("is measured again and again until it is closed, and keeps what was known while nobody answers", async () => {
  const clock = create();
  await clock.measure();
  clock.start();
  followed = 60_000;
  await vi.advanceTimersByTimeAsync(15_000);
  expect(asked).toBe(2);
  expect(clock.now()).toBe(START + passed + 60_000);
  clock.close();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(asked).toBe(2);

  let isAway = false;
  const away = createMeasuredClock({
    ask: async () => (isAway ? Promise.reject(new Error("away")) : START),
    own: () => START + 7_000,
    monotonic: () => 0,
  });
  await away.measure();
  isAway = true;
  await expect(away.measure()).rejects.toThrow("away");
  expect(away.aheadMs()).toBe(7_000);
});

test("health shows clocks that are five seconds apart, with the difference", () => {
  expect(clockHealth(4_900, (by) => by)).toEqual([]);
  expect(clockHealth(7_000, (by) => by)).toMatchObject([{ name: "clock", status: "degraded", essential: false }]);
  expect(clockHealth(-120_400, (by) => `One is ${by} the other.`)[0]?.detail).toBe(
    "One is 120 s behind the other. Set the clocks, as by NTP.",
  );
});
