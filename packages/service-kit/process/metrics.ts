import type { MetricValueWithName } from "prom-client";
import { collectProcessMetrics } from "./process-metrics.ts";
import { Counter, Gauge, Registry } from "./prometheus.ts";

/** A process's metrics in Prometheus' form. Labels are few and never an id, a raw path or a caller's text. */
export interface Metrics {
  readonly registry: Registry;
  counter<Label extends string>(
    described: Described<Label>,
  ): SeriesOf<Label, CountSeries> & {
    /** Ends a series: it is shown no more, and what still counts in it is lost. */
    forget(labels: Record<Label, string>): void;
  };
  /** @param described.buckets upper bounds, ascending; `+Inf` is added */
  histogram<Label extends string = never>(
    described: Described<Label> & { buckets: readonly number[] },
  ): SeriesOf<Label, ValueSeries>;
  /** Prometheus' summary without quantiles: count and sum. */
  summary<Label extends string>(described: Described<Label>): SeriesOf<Label, ValueSeries>;
  /** A value that is read when metrics are: a counter if its name ends in `_total`, as in OpenMetrics, else a gauge. */
  reading(described: Described<never> & { read: () => number }): void;
}

interface Described<Label extends string> {
  name: string;
  help: string;
  labelNames?: readonly Label[];
}

/**
 * Callers keep the series: prom-client looks it up by a text of all labels at each observation, which, done several times a request,
 * is a good part of a request's cost.
 */
interface SeriesOf<Label extends string, Series> {
  series(labels: Record<Label, string>): Series;
}

export interface CountSeries {
  inc(): void;
}

interface ValueSeries {
  observe(value: number): void;
}

/** With the metrics of the process itself. */
export function createMetrics(): Metrics {
  const registry = new Registry();
  collectProcessMetrics(registry);
  const registers = [registry];

  return {
    registry,
    counter({ name, help, labelNames = [] }) {
      const all = createSeries(labelNames, (labels) => ({ labels, count: 0 }));
      new Counter({
        name,
        help,
        labelNames,
        registers,
        collect() {
          this.reset();
          for (const { labels, count } of all.values()) this.inc(labels, count);
        },
      });
      return {
        series(labels) {
          const own = all.of(labels);
          return { inc: () => void (own.count += 1) };
        },
        forget: all.forget,
      };
    },
    histogram: (described) => observed(registry, described, described.buckets),
    summary: (described) => observed(registry, described, null),
    reading({ name, help, read }) {
      if (name.endsWith("_total")) {
        new Counter({
          name,
          help,
          registers,
          collect() {
            this.reset();
            this.inc(read());
          },
        });
      } else {
        new Gauge({
          name,
          help,
          registers,
          collect() {
            this.set(read());
          },
        });
      }
    },
  };
}

/** A histogram, or without buckets a summary, that prom-client's registry shows like its own. */
function observed<Label extends string>(
  registry: Registry,
  { name, help, labelNames = [] }: Described<Label>,
  bounds: readonly number[] | null,
): SeriesOf<Label, ValueSeries> {
  const type = bounds ? "histogram" : "summary";
  const buckets = bounds ?? [];
  const all = createSeries(labelNames, (labels) => ({ labels, counts: buckets.map(() => 0), sum: 0, count: 0 }));
  const metric = {
    name,
    help,
    type,
    aggregator: "sum",
    async get() {
      const values: MetricValueWithName<string>[] = [];
      for (const { labels, counts, sum, count } of all.values()) {
        if (count === 0 && labelNames.length > 0) continue;
        let below = 0;
        buckets.forEach((le, index) => {
          below += counts[index] ?? 0;
          values.push({ metricName: `${name}_bucket`, labels: { le, ...labels }, value: below });
        });
        if (bounds) values.push({ metricName: `${name}_bucket`, labels: { le: "+Inf", ...labels }, value: count });
        values.push({ metricName: `${name}_sum`, labels, value: sum });
        values.push({ metricName: `${name}_count`, labels, value: count });
      }
      return { name, help, type, aggregator: "sum", values };
    },
  };
  // The registry asks a metric for its name and `get()`; its type names its own classes only.
  registry.registerMetric(metric as unknown as Parameters<Registry["registerMetric"]>[0]);
  return {
    series(labels) {
      const own = all.of(labels);
      const { counts } = own;
      return {
        observe(value) {
          own.sum += value;
          own.count += 1;
          for (let i = 0; i < buckets.length; i++) {
            // The loop stays within the arrays.
            if (value <= (buckets[i] as number)) {
              counts[i] = (counts[i] as number) + 1;
              return;
            }
          }
        },
      };
    },
  };
}

function createSeries<Label extends string, Series>(
  labelNames: readonly Label[],
  make: (labels: Record<Label, string>) => Series,
): {
  of(labels: Record<Label, string>): Series;
  forget(labels: Record<Label, string>): void;
  values(): Iterable<Series>;
} {
  const all = new Map<string, Series>();
  const keyOf = (labels: Record<Label, string>) => labelNames.map((label) => labels[label]).join("\n");
  return {
    of(labels) {
      const key = keyOf(labels);
      let series = all.get(key);
      if (!series) {
        series = make(labels);
        all.set(key, series);
      }
      return series;
    },
    forget: (labels) => void all.delete(keyOf(labels)),
    values: () => all.values(),
  };
}

const METHODS = new Set(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]);

/** A method that a client made up never becomes a label. */
export function methodLabel(method: string): string {
  return METHODS.has(method) ? method : "OTHER";
}

/** Tells only a bounded number of names from outside apart: the first ones; all others are `rest`. */
export function createBoundedLabel({ max, rest }: { max: number; rest: string }): (name: string) => string {
  const known = new Set<string>();
  return (name) => {
    if (known.size < max) known.add(name);
    return known.has(name) ? name : rest;
  };
}
