import { collectProcessMetrics } from "@toolyard/service-kit/process/process-metrics.ts";
import { Counter, Gauge, Registry } from "prom-client";
import type { ReplacedPlan } from "../execution/planning/isolated-planner.ts";
import { createLightCounter, createLightHistogram } from "./light-metrics.ts";
import { createOperationMetrics, type OperationMetrics } from "./operation-metrics.ts";
import type { ShadowOutcome } from "../execution/reference/shadow.ts";

/** The gateway's metrics. Labels are few and never an id, a raw path or what a caller typed. */
export interface GatewayMetrics {
  registry: Registry;
  httpRequest(method: string, endpoint: string, status: number, seconds: number): void;
  operations: OperationMetrics;
  /** A planner's plan was not taken: see execution/planning/isolated-planner.ts. */
  planReplaced(replaced: ReplacedPlan): void;
  /** A query fell to EXECUTOR_SHADOW. */
  compared(outcome: ShadowOutcome): void;
}

const METHODS = new Set(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]);

/** What subgraphs count. As OpenMetrics has it, what only grows ends in `_total`, and nothing else does. */
const KEPT_BY_SUBGRAPHS: Record<string, { type: "gauge" | "counter"; help: string; labelNames?: string[] }> = {
  mcp_tools: { type: "gauge", help: "Registered tools that are not deleted." },
  mcp_tools_total: { type: "counter", help: "Tools that were ever registered." },
  mcp_deployments: { type: "gauge", help: "Deployments by status.", labelNames: ["status"] },
  mcp_deployments_active: { type: "gauge", help: "Deployments that are starting, running or stopping." },
  mcp_sessions: { type: "gauge", help: "MCP sessions that are open in replicas on stdio." },
  mcp_replica_restarts_total: { type: "counter", help: "Replicas' processes that were started again." },
  user_sessions: { type: "gauge", help: "Logins that have not ended." },
  tasks: { type: "gauge", help: "Tasks by status.", labelNames: ["status"] },
  tasks_total: { type: "counter", help: "Tasks that came to a status since the start.", labelNames: ["status"] },
  celery_tasks_total: { type: "counter", help: "The same as tasks_total.", labelNames: ["status"] },
};

/**
 * @param gauges Counts that subgraphs keep, read when metrics are: by name, perhaps with a label as in `tasks{status="QUEUED"}`.
 */
export function createGatewayMetrics(options: {
  gauges: () => Promise<Record<string, number>>;
  subscriptions: () => number;
  droppedEvents: () => number;
  /** How many operations are told apart. */
  maxOperations: number;
}): GatewayMetrics {
  const { gauges, subscriptions, droppedEvents, maxOperations } = options;
  const registry = new Registry();
  collectProcessMetrics(registry);
  const registers = [registry];
  const requests = createLightCounter({
    registry,
    name: "http_requests_total",
    help: "HTTP requests answered.",
    labelNames: ["method", "endpoint", "status"],
  });
  const durations = createLightHistogram({
    registry,
    name: "http_request_duration_seconds",
    help: "Time from a request's arrival to the end of its answer.",
    labelNames: ["method", "endpoint"],
    buckets: [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10],
  });
  new Gauge({
    name: "subscriptions_active",
    help: "Subscriptions open now.",
    registers,
    collect() {
      this.set(subscriptions());
    },
  });
  new Counter({
    name: "subscription_events_dropped_total",
    help: "Events thrown away because a client read too slowly.",
    registers,
    collect() {
      this.reset();
      this.inc(droppedEvents());
    },
  });
  const kept = Object.entries(KEPT_BY_SUBGRAPHS).map(([name, { type, help, labelNames = [] }]) => {
    const metric =
      type === "gauge"
        ? new Gauge({ name, help, labelNames, registers })
        : new Counter({ name, help, labelNames, registers });
    return [name, metric] as const;
  });
  const metricOf = new Map(kept);
  new Gauge({
    name: "toolyard_gauges_up",
    help: "1 while the subgraphs' own counts could be read.",
    registers,
    async collect() {
      try {
        for (const [key, value] of Object.entries(await gauges())) {
          const [, name = "", label, of = ""] = /^(\w+)(?:\{(\w+)="(\w+)"\})?$/.exec(key) ?? [];
          const metric = metricOf.get(name);
          const labels = label === undefined ? {} : { [label]: of };
          if (metric instanceof Gauge) metric.set(labels, value);
          else if (metric) {
            metric.remove(labels);
            metric.inc(labels, value);
          }
        }
        this.set(1);
      } catch {
        this.set(0); // a subgraph is away: said by this gauge and by /health
      }
    },
  });
  const replacedPlans = new Counter({
    name: "query_plans_replaced_total",
    help: "Plans that were not taken from a planner, being wrong or none. The log has plan and reason by the hash.",
    labelNames: ["planner", "reason", "hash"],
    registers,
  });
  const compared = new Counter({
    name: "graphql_shadow_queries_total",
    help: "Queries that EXECUTOR_SHADOW chose to be run by the other executor as well, by what came of it.",
    labelNames: ["outcome"],
    registers,
  });
  const hashes = new Set<string>();
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
    httpRequest(method, endpoint, status, seconds) {
      const known = METHODS.has(method) ? method : "OTHER";
      seriesOf(known, endpoint, status).observe(seconds);
    },
    operations: createOperationMetrics({ registry, maxOperations }),
    planReplaced({ planner, reason, hash }) {
      if (hashes.size < maxOperations) hashes.add(hash);
      replacedPlans.inc({ planner, reason, hash: hashes.has(hash) ? hash : "others" });
    },
    compared: (outcome) => compared.inc({ outcome }),
  };
}
