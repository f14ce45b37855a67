import { Counter, Gauge as PromGauge, type Registry } from "prom-client";
import type { Gauge } from "./subgraph.ts";

/**
 * Shows the gauges of subgraphs among a registry's metrics.
 * @param options.read Asks each subgraph. The last values of a subgraph stay while it does not answer.
 * @returns the metrics in Prometheus' text format
 */
export function createGaugeReport(options: {
  registry: Registry;
  read: () => readonly Promise<readonly Gauge[]>[];
}): () => Promise<string> {
  const { registry, read } = options;
  const shown = new Set<string>();
  const up = new PromGauge({
    name: "toolyard_gauges_up",
    help: "1 while the subgraphs' own counts could be read.",
    registers: [registry],
  });

  function show(gauges: readonly Gauge[]): void {
    const fresh = new Map<string, PromGauge | Counter>();
    for (const { name, help, labels, value } of gauges) {
      let metric = fresh.get(name);
      if (!metric) {
        if (shown.has(name)) registry.removeSingleMetric(name);
        const configuration = { name, help, labelNames: Object.keys(labels), registers: [registry] };
        metric = name.endsWith("_total") ? new Counter(configuration) : new PromGauge(configuration);
        fresh.set(name, metric);
        shown.add(name);
      }
      metric.inc(labels, value);
    }
  }

  return async () => {
    const answers = await Promise.allSettled(read());
    show(answers.flatMap((answer) => (answer.status === "fulfilled" ? answer.value : [])));
    // An unavailable subgraph is reported by this gauge and by /health.
    up.set(answers.every(({ status }) => status === "fulfilled") ? 1 : 0);
    return registry.metrics();
  };
}
