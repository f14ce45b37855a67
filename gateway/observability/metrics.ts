import { createCacheMeter, type CacheMeter } from "@toolyard/cache";
import type { Gauge as SubgraphGauge } from "@toolyard/service-kit";
import { createGaugeReport } from "@toolyard/service-kit/graph/gauge-report.ts";
import { createBoundedLabel, createMetrics, methodLabel } from "@toolyard/service-kit/process/metrics.ts";
import type { Registry } from "prom-client";
import type { ReplacedPlan } from "../execution/planning/isolated-planner.ts";
import { createOperationMetrics, type OperationMetrics } from "./operation-metrics.ts";
import type { ShadowOutcome } from "../execution/reference/shadow.ts";

/** The gateway's metrics. */
export interface GatewayMetrics {
  registry: Registry;
  /** All of them, in Prometheus' text format. */
  report(): Promise<string>;
  httpRequest(method: string, endpoint: string, status: number, seconds: number): void;
  operations: OperationMetrics;
  caches: CacheMeter;
  /** A planner's plan was not taken: see execution/planning/isolated-planner.ts. */
  planReplaced(replaced: ReplacedPlan): void;
  /** A query was sampled for EXECUTOR_SHADOW. */
  compared(outcome: ShadowOutcome): void;
}

/** @param options.gauges The subgraphs' metrics, collected from each when metrics are read. */
export function createGatewayMetrics(options: {
  gauges: () => readonly Promise<readonly SubgraphGauge[]>[];
  subscriptions: () => number;
  droppedEvents: () => number;
  /** How many operations are told apart. */
  maxOperations: number;
}): GatewayMetrics {
  const { gauges, subscriptions, droppedEvents, maxOperations } = options;
  const metrics = createMetrics();
  const { registry } = metrics;
  const requests = metrics.counter({
    name: "http_requests_total",
    help: "HTTP requests answered.",
    labelNames: ["method", "endpoint", "status"],
  });
  const durations = metrics.histogram({
    name: "http_request_duration_seconds",
    help: "Time from a request's arrival to the end of its answer.",
    labelNames: ["method", "endpoint"],
    buckets: [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10],
  });
  metrics.reading({ name: "subscriptions_active", help: "Subscriptions open now.", read: subscriptions });
  metrics.reading({
    name: "subscription_events_dropped_total",
    help: "Events thrown away because a client read too slowly.",
    read: droppedEvents,
  });
  const replacedPlans = metrics.counter({
    name: "query_plans_replaced_total",
    help: "Plans that a planner made wrongly or not at all, and that were replaced. The log has plan and reason under the hash.",
    labelNames: ["planner", "reason", "hash"],
  });
  const compared = metrics.counter({
    name: "graphql_shadow_queries_total",
    help: "Queries that EXECUTOR_SHADOW chose to run by the other executor as well, by outcome.",
    labelNames: ["outcome"],
  });
  const hashLabel = createBoundedLabel({ max: maxOperations, rest: "others" });
  /** By endpoint, status and method: a handful. */
  const series = new Map<string, Map<number, Map<string, { observe(seconds: number): void }>>>();

  function seriesOf(method: string, endpoint: string, status: number): { observe(seconds: number): void } {
    const known = series.get(endpoint)?.get(status)?.get(method);
    if (known) return known;
    const count = requests.series({ method, endpoint, status: String(status) });
    const duration = durations.series({ method, endpoint });
    const fresh = {
      observe(seconds: number) {
        count.inc();
        duration.observe(seconds);
      },
    };
    const byStatus = series.get(endpoint) ?? new Map<number, Map<string, typeof fresh>>();
    const byMethod = byStatus.get(status) ?? new Map<string, typeof fresh>();
    series.set(endpoint, byStatus.set(status, byMethod.set(method, fresh)));
    return fresh;
  }

  return {
    registry,
    report: createGaugeReport({ registry, read: gauges }),
    httpRequest(method, endpoint, status, seconds) {
      seriesOf(methodLabel(method), endpoint, status).observe(seconds);
    },
    caches: createCacheMeter(metrics),
    operations: createOperationMetrics({ metrics, maxOperations }),
    planReplaced({ planner, reason, hash }) {
      replacedPlans.series({ planner, reason, hash: hashLabel(hash) }).inc();
    },
    compared: (outcome) => compared.series({ outcome }).inc(),
  };
}
