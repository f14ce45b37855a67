import fc from "fast-check";
import { expect, test } from "vitest";
import { RELATIVE_ERROR, addDuration, mergeInto, quantiles, type SparseHistogram } from "./histogram.ts";

const durations = fc.array(fc.double({ min: 0.01, max: 600_000, noNaN: true }), { minLength: 1, maxLength: 200 });

function histogramOf(values: readonly number[]): SparseHistogram {
  const histogram: SparseHistogram = {};
  for (const value of values) addDuration(histogram, value);
  return histogram;
}

test("a quantile is within the stated error of the exact one, however the values were split and merged", () => {
  fc.assert(
    fc.property(durations, durations, fc.double({ min: 0, max: 1, noNaN: true }), (first, second, quantile) => {
      const merged = histogramOf(first);
      mergeInto(merged, histogramOf(second));
      expect(merged).toEqual(histogramOf([...first, ...second]));
      const sorted = [...first, ...second].toSorted((a, b) => a - b);
      const exact = sorted[Math.max(1, Math.ceil(quantile * sorted.length)) - 1] ?? 0;
      const [estimate] = quantiles(merged, [quantile]);
      expect(Math.abs((estimate ?? 0) - exact)).toBeLessThanOrEqual(exact * RELATIVE_ERROR * 1.000001);
    }),
    { numRuns: 300 },
  );
});

test("there is no quantile of nothing", () => {
  expect(quantiles({}, [0.5, 0.99])).toEqual([null, null]);
});
