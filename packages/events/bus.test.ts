import {
  HELD_MS,
  describeOnRedis,
  describeWithOwnRedis,
  isGone,
  withRedis,
  withRedisServer,
} from "@toolyard/testing/redis.ts";
import { describe, expect, test, vi } from "vitest";
import { busContract } from "./bus.contract.ts";
import { createRedisBus } from "./bus.redis.ts";
import { createInProcessBus, type WakeUpBus } from "./bus.ts";

describe("the bus within one process", () =>
  busContract(async (run) => {
    const bus = createInProcessBus();
    await run([bus, bus]);
  }));

describeOnRedis("the bus of two processes on Redis", () =>
  busContract((run) =>
    withRedis(async (open) => {
      const buses = [createRedisBus(open()), createRedisBus(open())] as const;
      await Promise.all(buses.map(hears));
      await run(buses);
    }),
  ),
);

/** A new listener to Redis is woken once, for the wakes that came before it. */
async function hears(bus: WakeUpBus): Promise<void> {
  const woken = vi.fn();
  bus.onWake("it hears", woken);
  await expect.poll(() => woken.mock.calls.length).toBe(1);
}

describeWithOwnRedis("the bus on a Redis that goes and comes back", () => {
  test("wakes within the process meanwhile, and after it everybody, for there were wakes that they missed", () =>
    withRedisServer((server) =>
      withRedis(async (open) => {
        const [near, far] = [open(), open()];
        const [bus, other] = [createRedisBus(near), createRedisBus(far)];
        const woken = { here: 0, there: 0, elsewhere: 0 };
        bus.onWake("a", () => woken.here++);
        other.onWake("a", () => woken.there++);
        other.onWake("b", () => woken.elsewhere++);
        await expect.poll(() => woken.there * woken.elsewhere).toBeGreaterThan(0);
        await server.stop();
        await Promise.all([near, far].map(isGone));
        const before = { ...woken };
        bus.wake("a");
        expect(woken).toEqual({ ...before, here: before.here + 1 });
        await server.start();
        await expect.poll(() => woken.there).toBeGreaterThan(before.there);
        await expect.poll(() => woken.elsewhere).toBeGreaterThan(before.elsewhere);
        const after = woken.there;
        bus.wake("a");
        await expect.poll(() => woken.there).toBeGreaterThan(after);
      }, server.url),
    ));

  test("notices one that is held, and that goes on", () =>
    withRedisServer((server) =>
      withRedis(
        async (open) => {
          const [near, far] = [open(), open()];
          const [bus, other] = [createRedisBus(near), createRedisBus(far)];
          let woken = 0;
          other.onWake("a", () => woken++);
          await expect.poll(() => woken).toBeGreaterThan(0);
          server.pause();
          // Nothing comes back, until the connection is closed for it.
          bus.wake("a");
          await isGone(near);
          const before = woken;
          server.resume();
          await expect.poll(() => woken).toBeGreaterThan(before);
        },
        server.url,
        HELD_MS,
      ),
    ));
});
