import { Counter, type MetricValueWithName, type Registry } from "prom-client";

/** One series of a histogram. */
export interface LightSeries {
  observe(value: number): void;
}

export interface LightHistogramOptions<Label extends string> {
  registry: Registry;
  name: string;
  help: string;
  labelNames: readonly Label[];
  /** Upper bounds, ascending; `+Inf` is added. */
  buckets: readonly number[];
}

/**
 * A histogram that prom-client's registry shows like its own. Whoever observes keeps the series: prom-client looks it up by a text of
 * all labels at each observation, which several times a request is a good part of what a request costs.
 */
export function createLightHistogram<Label extends string>(
  options: Omit<LightHistogramOptions<Label>, "buckets"> & { buckets: readonly number[] | null },
) {
  const { registry, name, help, labelNames } = options;
  const type = options.buckets ? "histogram" : "summary";
  const buckets = options.buckets ?? [];
  const all = new Map<string, { labels: Record<Label, string>; counts: number[]; sum: number; count: number }>();

  const metric = {
    name,
    help,
    type,
    aggregator: "sum",
    async get() {
      const values: MetricValueWithName<string>[] = [];
      for (const { labels, counts, sum, count } of all.values()) {
        if (count === 0) continue;
        let below = 0;
        buckets.forEach((le, index) => {
          below += counts[index] ?? 0;
          values.push({ metricName: `${name}_bucket`, labels: { le, ...labels }, value: below });
        });
        if (options.buckets)
          values.push({ metricName: `${name}_bucket`, labels: { le: "+Inf", ...labels }, value: count });
        values.push({ metricName: `${name}_sum`, labels, value: sum });
        values.push({ metricName: `${name}_count`, labels, value: count });
      }
      return { name, help, type, aggregator: "sum", values };
    },
  };
  // The registry asks a metric for its name and `get()`; its type names its own classes only.
  registry.registerMetric(metric as unknown as Parameters<Registry["registerMetric"]>[0]);

  return {
    series(labels: Record<Label, string>): LightSeries {
      const key = labelNames.map((label) => labels[label]).join("\n");
      let series = all.get(key);
      if (!series) {
        series = { labels, counts: buckets.map(() => 0), sum: 0, count: 0 };
        all.set(key, series);
      }
      const { counts } = series;
      const own = series;
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

/** Prometheus' summary without quantiles: how often, and the sum. */
export function createLightSummary<Label extends string>(options: Omit<LightHistogramOptions<Label>, "buckets">) {
  return createLightHistogram({ ...options, buckets: null });
}

/** A counter whose series the one who counts keeps, for the same reason. */
export function createLightCounter<Label extends string>(options: {
  registry: Registry;
  name: string;
  help: string;
  labelNames: readonly Label[];
}) {
  const { registry, name, help, labelNames } = options;
  const all = new Map<string, { labels: Record<Label, string>; count: number }>();
  new Counter({
    name,
    help,
    labelNames,
    registers: [registry],
    collect() {
      this.reset();
      for (const { labels, count } of all.values()) this.inc(labels, count);
    },
  });
  return {
    series(labels: Record<Label, string>): { inc(): void } {
      const key = labelNames.map((label) => labels[label]).join("\n");
      const series = all.get(key) ?? { labels, count: 0 };
      all.set(key, series);
      return { inc: () => void (series.count += 1) };
    },
  };
}
