import { createCacheMeter, type CacheMeter } from "@toolyard/cache";
import {
  createBoundedLabel,
  createMetrics,
  methodLabel,
  type CountSeries,
} from "@toolyard/service-kit/process/metrics.ts";
import type { Registry } from "prom-client";

/** The proxy's metrics. */
export interface ProxyMetrics {
  registry: Registry;
  caches: CacheMeter;
  /** @param seconds Null for a long-lived stream, whose duration tells nothing about speed. */
  call(method: string, status: number, seconds: number | null): void;
  /** A call that reached the tool's deployment. Only a bounded number of tools are told apart. */
  toolCall(slug: string, failed: boolean): void;
}

export interface ProxyGauges {
  outstanding: () => number;
  streams: () => number;
  routes: () => number;
  refusedRoutes: () => number;
  connected: () => boolean;
  spool: () => { batches: number; bytes: number; dropped: number };
}

const BUCKETS = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 60];
const MAX_TOOLS = 200;

export function createProxyMetrics(gauges: ProxyGauges): ProxyMetrics {
  const metrics = createMetrics();
  const requests = metrics.counter({
    name: "mcp_requests_total",
    help: "Calls of tools, by HTTP method and status.",
    labelNames: ["method", "status"],
  });
  const toolCalls = metrics.counter({
    name: "mcp_tool_calls_total",
    help: `Calls that reached a deployment, by the tool's slug (${MAX_TOOLS} of them) and outcome.`,
    labelNames: ["tool", "outcome"],
  });
  const durations = metrics
    .histogram({
      name: "mcp_request_duration_seconds",
      help: "Time from a call's arrival to the end of its answer; without streams.",
      buckets: BUCKETS,
    })
    .series({});
  const gauge = (name: string, help: string, read: () => number) => metrics.reading({ name, help, read });
  gauge("mcp_requests_outstanding", "Calls under way at replicas.", gauges.outstanding);
  gauge("mcp_streams_open", "Streams that are open.", gauges.streams);
  gauge("toolyard_proxy_routes", "Routes known.", gauges.routes);
  gauge("toolyard_proxy_routes_refused", "Routes in an unexpected form, which are not used.", gauges.refusedRoutes);
  gauge("toolyard_proxy_connected", "1 while the control plane's routes are followed live.", () =>
    gauges.connected() ? 1 : 0,
  );
  gauge(
    "toolyard_proxy_spool_batches",
    "Batches of usage on disk for the control plane.",
    () => gauges.spool().batches,
  );
  gauge("toolyard_proxy_spool_bytes", "Bytes of usage on disk.", () => gauges.spool().bytes);
  gauge(
    "toolyard_proxy_usage_dropped_total",
    "Usage records dropped: the spool was full, or the disk or the control plane refused them.",
    () => gauges.spool().dropped,
  );
  const labelOf = createBoundedLabel({ max: MAX_TOOLS, rest: "other tools" });
  const requestSeries = new Map<number, Map<string, CountSeries>>();
  const toolSeries = new Map<string, { ok: CountSeries; error: CountSeries }>();

  function requestsOf(method: string, status: number): CountSeries {
    const byMethod = requestSeries.get(status) ?? new Map<string, CountSeries>();
    const series = byMethod.get(method) ?? requests.series({ method, status: String(status) });
    requestSeries.set(status, byMethod.set(method, series));
    return series;
  }

  return {
    registry: metrics.registry,
    caches: createCacheMeter(metrics),
    call(method, status, seconds) {
      (requestSeries.get(status)?.get(method) ?? requestsOf(methodLabel(method), status)).inc();
      if (seconds !== null) durations.observe(seconds);
    },
    toolCall(slug, failed) {
      const tool = labelOf(slug);
      let series = toolSeries.get(tool);
      if (!series) {
        series = {
          ok: toolCalls.series({ tool, outcome: "ok" }),
          error: toolCalls.series({ tool, outcome: "error" }),
        };
        toolSeries.set(tool, series);
      }
      series[failed ? "error" : "ok"].inc();
    },
  };
}
