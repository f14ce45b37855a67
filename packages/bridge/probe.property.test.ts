import fc from "fast-check";
import { expect, test } from "vitest";
import { responsivenessOf } from "./probe.ts";

const anyDebt = fc.record({ calls: fc.nat(3), silentSince: fc.option(fc.nat(100_000)) });
const anyTime = fc.nat(200_000);
const anyTimeout = fc.integer({ min: 1, max: 100_000 });

test("a child with a call is let alone until a whole call's time passed in silence, and never after", () => {
  fc.assert(
    fc.property(anyDebt, anyTime, anyTimeout, (debt, now, timeoutMs) => {
      const isLate = debt.silentSince !== null && now - debt.silentSince >= timeoutMs;
      const responsiveness = responsivenessOf(debt, now, timeoutMs);
      expect(responsiveness === "OVERDUE").toBe(isLate);
      if (!isLate) expect(responsiveness === "BUSY").toBe(debt.calls > 0);
      if (debt.calls === 0 && debt.silentSince === null) expect(responsiveness).toBe("IDLE");
    }),
  );
});

test("more calls never make what is overdue less so, and time alone never more excusable", () => {
  const rank = ["IDLE", "BUSY", "EXCUSED", "OVERDUE"];
  fc.assert(
    fc.property(anyDebt, anyTime, anyTimeout, fc.nat(10), fc.nat(50_000), (debt, now, timeoutMs, more, later) => {
      const before = responsivenessOf(debt, now, timeoutMs);
      if (before !== "OVERDUE") return;
      expect(responsivenessOf({ ...debt, calls: debt.calls + more }, now, timeoutMs)).toBe("OVERDUE");
      expect(rank.indexOf(responsivenessOf(debt, now + later, timeoutMs))).toBe(rank.indexOf("OVERDUE"));
    }),
  );
});
