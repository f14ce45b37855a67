import { createCacheMeter, type CacheMeter } from "@toolyard/cache";
import { createMetrics, methodLabel, type CountSeries } from "@toolyard/service-kit/process/metrics.ts";
import type { Registry } from "prom-client";

/** The proxy's metrics. */
export interface ProxyMetrics {
  registry: Registry;
  caches: CacheMeter;
  /** @param seconds Null for a long-lived stream, whose duration tells nothing about speed. */
  call(method: string, status: number, seconds: number | null): void;
  /** A call that reached a deployment of the tool. Only a bounded number of deployments are told apart, those whose names are known. */
  toolCall(slug: string, deploymentId: string, failed: boolean): void;
  /** A deployment takes no calls any more: its series end, and leave room for another's. */
  deploymentLeft(deploymentId: string): void;
}

export interface ProxyGauges {
  outstanding: () => number;
  streams: () => number;
  routes: () => number;
  refusedRoutes: () => number;
  /** The name of a deployment that takes calls. */
  nameOf: (deploymentId: string) => string | undefined;
  connected: () => boolean;
  spool: () => { batches: number; bytes: number; dropped: number };
}

interface CallSeries {
  names: { tool: string; deployment: string };
  ok: CountSeries;
  error: CountSeries;
}

const BUCKETS = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 60];
const MAX_DEPLOYMENTS = 200;
const REST = { tool: "other tools", deployment: "other deployments" };

export function createProxyMetrics(gauges: ProxyGauges): ProxyMetrics {
  const metrics = createMetrics();
  const requests = metrics.counter({
    name: "mcp_requests_total",
    help: "Calls of tools, by HTTP method and status.",
    labelNames: ["method", "status"],
  });
  const toolCalls = metrics.counter({
    name: "mcp_tool_calls_total",
    help: `Calls that reached a deployment (${MAX_DEPLOYMENTS} of them), by the tool's slug, the deployment's name and outcome.`,
    labelNames: ["tool", "deployment", "outcome"],
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
  const requestSeries = new Map<number, Map<string, CountSeries>>();
  /** By deployment. */
  const callSeries = new Map<string, CallSeries>();
  /** Of all others, which never leaves. */
  const restSeries = openSeries(REST);

  function openSeries(names: CallSeries["names"]): CallSeries {
    const of = (outcome: string) => toolCalls.series({ ...names, outcome });
    return { names, ok: of("ok"), error: of("error") };
  }

  function callSeriesOf(tool: string, deploymentId: string): CallSeries {
    const deployment = callSeries.size < MAX_DEPLOYMENTS ? gauges.nameOf(deploymentId) : undefined;
    if (deployment === undefined) return restSeries;
    const series = openSeries({ tool, deployment });
    callSeries.set(deploymentId, series);
    return series;
  }

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
    toolCall(slug, deploymentId, failed) {
      const series = callSeries.get(deploymentId) ?? callSeriesOf(slug, deploymentId);
      series[failed ? "error" : "ok"].inc();
    },
    deploymentLeft(deploymentId) {
      const left = callSeries.get(deploymentId);
      if (!left) return;
      callSeries.delete(deploymentId);
      for (const outcome of ["ok", "error"]) toolCalls.forget({ ...left.names, outcome });
    },
  };
}
