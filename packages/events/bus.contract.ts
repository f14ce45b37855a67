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
      await vi.waitFor(() => expect(new Set(woken)).toEqual(new Set(["a here", "a there"])));
      bus.wake("last");
      await vi.waitFor(() => expect(woken).toContain("last"));
      expect(woken).not.toContain("another's");
    }));

  test("wakes again and again, but who has unsubscribed no more, once or twice", () =>
    withBuses(async ([bus, other]) => {
      const [gone, stays] = [vi.fn(), vi.fn()];
      const unsubscribe = other.onWake("a", gone);
      other.onWake("a", stays);
      bus.wake("a");
      await vi.waitFor(() => expect(stays).toHaveBeenCalled());
      unsubscribe();
      unsubscribe();
      const [before, after] = [gone.mock.calls.length, stays.mock.calls.length];
      bus.wake("a");
      await vi.waitFor(() => expect(stays.mock.calls.length).toBeGreaterThan(after));
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
      await vi.waitFor(() => {
        bus.wake("a");
        expect(late).toHaveBeenCalled();
      });
    }));
}
