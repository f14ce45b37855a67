import { performance, type EventLoopUtilization } from "node:perf_hooks";
import { Gauge, collectDefaultMetrics, type Registry } from "./prometheus.ts";

/** The longest that Node's monitor of the event loop takes. */
const HARDLY_EVER_MS = 2 ** 31 - 1;
/** Metrics that are wrong without the monitor, and gauges that are named like counters. */
const LEFT_OUT = [
  ...["min", "max", "mean", "stddev", "p50", "p90", "p99"].map((what) => `nodejs_eventloop_lag_${what}_seconds`),
  ...["handles", "requests", "resources"].map((what) => `nodejs_active_${what}_total`),
];

/**
 * prom-client's metrics of the process, without those of a monitor that wakes it a hundred times a second. The event loop's utilization since
 * the last scrape tells how busy it is, and costs nothing in between.
 */
export function collectProcessMetrics(registry: Registry): void {
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: HARDLY_EVER_MS });
  for (const name of LEFT_OUT) registry.removeSingleMetric(name);
  let before: EventLoopUtilization = performance.eventLoopUtilization();
  new Gauge({
    name: "nodejs_eventloop_utilization_ratio",
    help: "Share of the time since the last scrape in which the event loop was busy.",
    registers: [registry],
    collect() {
      const now = performance.eventLoopUtilization();
      this.set(performance.eventLoopUtilization(now, before).utilization);
      before = now;
    },
  });
}
