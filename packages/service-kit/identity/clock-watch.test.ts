import { expect, test, vi } from "vitest";
import { createClockWatch } from "./clock-watch.ts";

function watching() {
  const logger = { error: vi.fn(), warn: vi.fn() };
  const time = { ms: 0 };
  const watch = createClockWatch({ logger, who: "a gateway that asks here", monotonic: () => time.ms });
  return { logger, time, watch };
}

test("says nothing of signatures that are as old as they may be where clocks agree", () => {
  const { logger, watch } = watching();
  for (const aheadMs of [4_000, 0, -1_000, -11_000, -15_000]) watch.note(aheadMs, false);
  expect(watch.health()).toEqual([]);
  expect(logger.warn).not.toHaveBeenCalled();
});

test("shows by how much clocks differ while calls come that tell of it, and a little longer", () => {
  const { time, watch } = watching();
  watch.note(-120_000, false);
  expect(watch.health()).toMatchObject([
    {
      name: "clock",
      status: "degraded",
      essential: false,
      detail: expect.stringContaining("120 s behind this host's") as unknown,
    },
  ]);
  watch.note(7_200_000, true);
  expect(watch.health()[0]?.detail).toMatch(/7200 s ahead of this host's.*refused/);
  time.ms = 16_000;
  expect(watch.health()).toEqual([]);
});

test("logs refused calls once a minute, however many they are, and those that are borne beside them", () => {
  const { logger, time, watch } = watching();
  for (let call = 0; call < 1_000; call += 1) watch.note(7_200_000, true);
  watch.note(120_000, false);
  expect(logger.error.mock.calls).toEqual([[{ seconds: 7_200 }, expect.stringContaining("refused")]]);
  expect(logger.warn).toHaveBeenCalledTimes(1);
  time.ms = 60_000;
  watch.note(7_200_000, true);
  expect(logger.error).toHaveBeenCalledTimes(2);
});
