import { expect, test, vi } from "vitest";
import type { WakeUpBus } from "./bus.ts";

/** What every adapter of the bus must show: on one bus, or on two that reach each other. `withBuses` releases them after. */
export function busContract(
  withBuses: (run: (buses: readonly [WakeUpBus, WakeUpBus]) => Promise<void>) => Promise<void>,
): void {
  test("wakes all who listen to a topic, and nobody else", () =>
    withBuses(async ([bus, other]) => {
      const woken: string[] = [];
      bus.onWake("a", () => woken.push("a here"));
      other.onWake("a", () => woken.push("a there"));
      bus.onWake("A", () => woken.push("another's"));
      other.onWake("last", () => woken.push("last"));
      bus.wake("a");
      bus.wake("nobody listens to it");
      await expect.poll(() => new Set(woken)).toEqual(new Set(["a here", "a there"]));
      bus.wake("last");
      await expect.poll(() => woken).toContain("last");
      expect(woken).not.toContain("another's");
    }));

  test("wakes again and again, but who has unsubscribed no more, once or twice", () =>
    withBuses(async ([bus, other]) => {
      const [gone, stays] = [vi.fn(), vi.fn()];
      const unsubscribe = other.onWake("a", gone);
      other.onWake("a", stays);
      bus.wake("a");
      await expect.poll(() => stays.mock.calls.length).toBeGreaterThan(0);
      unsubscribe();
      unsubscribe();
      const [before, after] = [gone.mock.calls.length, stays.mock.calls.length];
      bus.wake("a");
      await expect.poll(() => stays.mock.calls.length).toBeGreaterThan(after);
      expect(gone).toHaveBeenCalledTimes(before);
    }));

  test("takes listeners that come and go while it wakes", () =>
    withBuses(async ([bus]) => {
      const late = vi.fn();
      const unsubscribe = bus.onWake("a", () => {
        unsubscribe();
        bus.onWake("a", late);
      });
      bus.wake("a");
      const wakeLate = () => {
        bus.wake("a");
        return late.mock.calls.length;
      };
      await expect.poll(wakeLate).toBeGreaterThan(0);
    }));
}
