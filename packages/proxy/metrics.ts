import { collectProcessMetrics } from "@toolyard/service-kit/process/process-metrics.ts";
import { Counter, Gauge, Histogram, Registry } from "prom-client";

/** The proxy's metrics. Labels are few and never an id, a path or what a caller typed. */
export interface ProxyMetrics {
  registry: Registry;
  /** @param seconds Null for a stream that stood open: it says nothing of speed. */
  call(method: string, status: number, seconds: number | null): void;
  /** One that reached the tool's deployment. Only so many tools are told apart. */
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

const METHODS = new Set(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]);
const BUCKETS = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 60];
const MAX_TOOLS = 200;
const OTHER_TOOLS = "other tools";

export function createProxyMetrics(gauges: ProxyGauges): ProxyMetrics {
  const registry = new Registry();
  collectProcessMetrics(registry);
  const registers = [registry];
  /** Counted here, and told to prom-client when it is asked: its labels cost more than the count. */
  const counts = new Map<string, { method: string; status: string; calls: number }>();
  new Counter({
    name: "mcp_requests_total",
    help: "Calls of tools, by HTTP method and status.",
    labelNames: ["method", "status"],
    registers,
    collect() {
      this.reset();
      for (const { method, status, calls } of counts.values()) this.inc({ method, status }, calls);
    },
  });
  const tools = new Map<string, { ok: number; error: number }>();
  new Counter({
    name: "mcp_tool_calls_total",
    help: `Calls that reached a deployment, by the tool's slug (${MAX_TOOLS} of them) and outcome.`,
    labelNames: ["tool", "outcome"],
    registers,
    collect() {
      this.reset();
      for (const [tool, { ok, error }] of tools) {
        this.inc({ tool, outcome: "ok" }, ok);
        this.inc({ tool, outcome: "error" }, error);
      }
    },
  });
  const durations = new Histogram({
    name: "mcp_request_duration_seconds",
    help: "Time from a call's arrival to the end of its answer; without streams that stand open.",
    buckets: BUCKETS,
    registers,
  });
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  gauge("mcp_requests_outstanding", "Calls under way at replicas.", gauges.outstanding);
  gauge("mcp_streams_open", "Streams that stand open.", gauges.streams);
  gauge("toolyard_proxy_routes", "Routes known.", gauges.routes);
  gauge("toolyard_proxy_routes_refused", "Routes that are not as agreed and are not used.", gauges.refusedRoutes);
  gauge("toolyard_proxy_connected", "1 while the control plane's routes are followed live.", () =>
    gauges.connected() ? 1 : 0,
  );
  gauge(
    "toolyard_proxy_spool_batches",
    "Batches of usage on disk for the control plane.",
    () => gauges.spool().batches,
  );
  gauge("toolyard_proxy_spool_bytes", "Bytes of usage on disk.", () => gauges.spool().bytes);
  new Counter({
    name: "toolyard_proxy_usage_dropped_total",
    help: "Usage records dropped: the spool was full, or the disk or the control plane refused them.",
    registers,
    collect() {
      this.reset();
      this.inc(gauges.spool().dropped);
    },
  });
  return {
    registry,
    call(method, status, seconds) {
      const key = `${method} ${status}`;
      const count = counts.get(key);
      if (count) count.calls += 1;
      else if (METHODS.has(method)) counts.set(key, { method, status: String(status), calls: 1 });
      else countOther(status);
      if (seconds !== null) durations.observe(seconds);
    },
    toolCall(slug, failed) {
      const key = tooMany(slug) ? OTHER_TOOLS : slug;
      const known = tools.get(key) ?? { ok: 0, error: 0 };
      known[failed ? "error" : "ok"] += 1;
      tools.set(key, known);
    },
  };

  function tooMany(slug: string): boolean {
    return tools.size >= MAX_TOOLS && !tools.has(slug);
  }

  function countOther(status: number): void {
    const key = `OTHER ${status}`;
    const count = counts.get(key);
    if (count) count.calls += 1;
    else counts.set(key, { method: "OTHER", status: String(status), calls: 1 });
  }
}
