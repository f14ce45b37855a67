import fc from "fast-check";
import { expect, test } from "vitest";
import { growthOf, type Growth } from "./growth.ts";

const sizes = [100, 1_000, 10_000];
const shapes: [Growth, (size: number) => number][] = [
  ["constant", () => 0],
  ["logarithmic", (size) => 10 * Math.log(size)],
  ["linear", (size) => size / 50],
  ["quadratic", (size) => size ** 2 / 50_000],
];

test("growth has its name in spite of a fixed part and of measurements that are 5 % off", () => {
  const off = fc.double({ min: 0.95, max: 1.05, noNaN: true });
  for (const [growth, shape] of shapes)
    fc.assert(
      fc.property(fc.double({ min: 0.5, max: 3, noNaN: true }), fc.tuple(off, off, off), (fixed, factors) => {
        const points = sizes.map((size, index) => ({ size, cost: (fixed + shape(size)) * (factors[index] ?? 1) }));
        expect(growthOf(points, 0.1)).toBe(growth);
      }),
    );
});

test("differences within the slack are none, and one size says nothing", () => {
  expect(
    growthOf(
      [
        { size: 1, cost: 0.01 },
        { size: 10, cost: 0.09 },
      ],
      0.1,
    ),
  ).toBe("constant");
  expect(growthOf([{ size: 1, cost: 5 }], 0.1)).toBe("?");
});
