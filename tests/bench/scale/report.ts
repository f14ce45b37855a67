import { growthOf } from "./growth.ts";
import type { Cost } from "./program.ts";

/** What one thing cost at each size, in order of the sizes. */
export interface Row {
  what: string;
  points: { size: number; cost: Cost }[];
}

/** Differences that are none: of CPU in ms, of statements, and of bytes. */
const CPU_SLACK = 0.5;
const STATEMENT_SLACK = 2;
const BYTES_SLACK = 5_000;
const SLOW_MS = 20;

/** A table of Markdown; what is asked of it is the README's, not this file's. */
export function tableOf(unit: string, rows: readonly Row[]): string {
  const sizes = [...new Set(rows.flatMap(({ points }) => points.map(({ size }) => size)))].toSorted((a, b) => a - b);
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const tellsProxy = rows.some(({ points }) => points.some(({ cost }) => cost.proxyBytes > BYTES_SLACK));
  const head = [unit, ...sizes.map(text), "grows", "store calls", "grow", "longest hold"];
  if (tellsProxy) head.push("KB to the proxy", "grow");
  return [
    line(head),
    line(head.map(() => "---")),
    ...rows.map(({ what, points }) => {
      const at = (size: number) => points.find((point) => point.size === size)?.cost;
      const series = (of: (cost: Cost) => number) => points.map(({ size, cost }) => ({ size, cost: of(cost) }));
      const statements = points.map(({ cost }) => text(cost.statements));
      const worst = points.map(({ cost }) => cost).reduce((most, cost) => (cost.hold.ms > most.hold.ms ? cost : most));
      return line([
        what,
        ...sizes.map((size) => milliseconds(at(size)?.cpuMs)),
        growthOf(
          series(({ cpuMs }) => cpuMs),
          CPU_SLACK,
        ),
        statements.every((each) => each === statements[0]) ? (statements[0] ?? "") : statements.join(" → "),
        growthOf(
          series(({ statements: each }) => each),
          STATEMENT_SLACK,
        ),
        holdOf(worst),
        ...(tellsProxy
          ? [
              points.map(({ cost }) => text(cost.proxyBytes / 1_000)).join(" → "),
              growthOf(
                series(({ proxyBytes }) => proxyBytes),
                BYTES_SLACK,
              ),
            ]
          : []),
      ]);
    }),
  ].join("\n");
}

function holdOf({ hold }: Cost): string {
  // Of what was not watched there is none.
  return hold.ms === 0 ? "" : `${text(hold.ms)} ms${hold.whose === "proxy" ? " (proxy)" : ""}`;
}

/** One measurement, with the statement that took longest where it took long. */
export function lineOf(unit: string, what: string, size: number, cost: Cost): string {
  const { sql, ms } = cost.slowest;
  const shortened = sql.replaceAll(/(\?, )+/g, "…").replaceAll(/SELECT .*? FROM/g, "SELECT … FROM");
  return [
    `${size} ${unit}`.padStart(16),
    `${text(cost.cpuMs)} ms`.padStart(10),
    `${text(cost.statements)} calls`.padStart(14),
    holdOf(cost).padStart(18),
    ` ${what}`,
    ms > SLOW_MS ? `\n${" ".repeat(20)}${text(ms)} ms: ${shortened.slice(0, 400)}` : "",
  ].join("");
}

function milliseconds(value: number | undefined): string {
  return value === undefined ? "" : `${text(value)} ms`;
}

function text(value: number): string {
  const digits = Math.abs(value) >= 10 ? 0 : Math.abs(value) >= 1 ? 1 : 2;
  return Number(value.toFixed(digits)).toLocaleString("en");
}
