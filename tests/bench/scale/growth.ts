/** How a cost grows with a size, by the simplest of these that is near all points. */
export type Growth = "constant" | "logarithmic" | "linear" | "quadratic" | "?";

export interface Point {
  size: number;
  cost: number;
}

/** A measured cost within this factor of its model follows it. */
const NEAR = 1.35;
/** Costs within this factor of each other are the same: over two powers of ten a logarithm doubles. */
const CONSTANT = 1.5;
const shapes: [Growth, (size: number) => number][] = [
  ["logarithmic", Math.log],
  ["linear", (size) => size],
  ["quadratic", (size) => size ** 2],
];

/**
 * Fits `fixed + perUnit × shape(size)` by least squares of the relative errors, neither of them negative; "?" with a single size.
 *
 * @param slack A difference that is none: costs that differ by less are constant.
 */
export function growthOf(points: readonly Point[], slack: number): Growth {
  const costs = points.map(({ cost }) => cost);
  if (points.length < 2) return "?";
  const [least, most] = [Math.min(...costs), Math.max(...costs)];
  // What gets cheaper does not grow.
  if (most - least <= slack || most <= least * CONSTANT || (costs.at(-1) ?? 0) <= least + slack) return "constant";
  const fits = shapes.map(([growth, shape]) => ({ growth, error: errorOf(points, shape, slack) }));
  const near = fits.find(({ error }) => error <= NEAR);
  return (near ?? fits.reduce((best, fit) => (fit.error < best.error ? fit : best))).growth;
}

/** The largest factor by which the best fit misses a point. */
function errorOf(points: readonly Point[], shape: (size: number) => number, slack: number): number {
  // Weights make errors relative; the normal equations of two unknowns.
  const sums = { weight: 0, x: 0, y: 0, xx: 0, xy: 0 };
  for (const { size, cost } of points) {
    const weight = 1 / Math.max(cost, slack) ** 2;
    const x = shape(size);
    sums.weight += weight;
    sums.x += weight * x;
    sums.y += weight * cost;
    sums.xx += weight * x * x;
    sums.xy += weight * x * cost;
  }
  const slope = (sums.weight * sums.xy - sums.x * sums.y) / (sums.weight * sums.xx - sums.x ** 2);
  const fixed = (sums.y - slope * sums.x) / sums.weight;
  const model =
    fixed >= 0 ? (size: number) => fixed + slope * shape(size) : (size: number) => (sums.xy / sums.xx) * shape(size);
  return Math.max(
    ...points.map(({ size, cost }) => {
      const [expected, found] = [Math.max(model(size), slack), Math.max(cost, slack)];
      return Math.max(expected / found, found / expected);
    }),
  );
}
