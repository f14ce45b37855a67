import type { Metrics } from "@toolyard/service-kit/process/metrics.ts";
import type { AdmittedOperation } from "../admission/admission.ts";
import type { SubgraphClient, SubgraphRequest, SubgraphResponse } from "../execution/clients/subgraph-client.ts";

/** Metrics of GraphQL operations. Names come from clients: only so many are told apart, the rest is `other`. */
export interface OperationMetrics {
  /** @param operation null for one that was refused before it was known */
  operation(operation: CountedOperation | null, outcome: "ok" | "error", seconds: number): void;
  subscription(operation: CountedOperation): void;
  /** The same client, its fetches timed: here, and in the operation's own context where that asks for it. */
  timed(client: SubgraphClient): SubgraphClient;
}

export type CountedOperation = Pick<AdmittedOperation, "kind" | "name" | "hash">;

export function createOperationMetrics(options: { metrics: Metrics; maxOperations: number }): OperationMetrics {
  const { metrics, maxOperations } = options;
  const operations = metrics.counter({
    name: "graphql_operations_total",
    help: "GraphQL operations executed.",
    labelNames: ["type", "outcome"],
  });
  const durations = metrics.histogram({
    name: "graphql_operation_duration_seconds",
    help: "Time of a GraphQL operation from its admission to its result.",
    labelNames: ["type", "outcome"],
    buckets: [0.005, 0.025, 0.1, 0.5, 2.5, 10],
  });
  // Without buckets: two hundred operations would have more series than all else together.
  const byName = metrics.summary({
    name: "graphql_operation_seconds",
    help: "How often operations ran and how long they took together, by name and the start of the text's SHA-256.",
    labelNames: ["operation", "hash", "outcome"],
  });
  const subscriptions = metrics.counter({
    name: "graphql_subscriptions_total",
    help: "Subscriptions begun, by name and the start of the text's SHA-256.",
    labelNames: ["operation", "hash"],
  });
  const fetches = metrics.histogram({
    name: "graphql_subgraph_fetch_duration_seconds",
    help: "Time of one fetch from a subgraph.",
    labelNames: ["subgraph", "outcome"],
    buckets: [0.001, 0.005, 0.025, 0.1, 0.5, 2.5],
  });
  type Outcome = "ok" | "error";
  /** By the hashes of those that are told apart. */
  const known = new Map<string, Record<Outcome, { observe(seconds: number): void }>>();
  const counts = new Map<string, { inc(): void; observe(seconds: number): void }>();

  function labelsOf({ hash, name }: CountedOperation): { operation: string; hash: string } {
    // A name may be as long as its author likes.
    return { operation: (name ?? "").slice(0, 64), hash };
  }

  function durationsOf(operation: CountedOperation): Record<Outcome, { observe(seconds: number): void }> {
    const found = known.get(operation.hash);
    if (found) return found;
    const isToldApart = known.size < maxOperations;
    const labels = isToldApart ? labelsOf(operation) : { operation: "other", hash: "" };
    const fresh = {
      ok: byName.series({ ...labels, outcome: "ok" }),
      error: byName.series({ ...labels, outcome: "error" }),
    };
    if (isToldApart) known.set(operation.hash, fresh);
    return fresh;
  }

  function seriesOf(type: string, outcome: Outcome): { inc(): void; observe(seconds: number): void } {
    const key = type + outcome;
    let series = counts.get(key);
    if (!series) {
      series = { ...operations.series({ type, outcome }), ...durations.series({ type, outcome }) };
      counts.set(key, series);
    }
    return series;
  }

  return {
    operation(operation, outcome, seconds) {
      const series = seriesOf(operation?.kind ?? "unknown", outcome);
      series.inc();
      if (!operation) return;
      series.observe(seconds);
      durationsOf(operation)[outcome].observe(seconds);
    },
    subscription(operation) {
      durationsOf(operation);
      const isToldApart = known.has(operation.hash);
      subscriptions.series(isToldApart ? labelsOf(operation) : { operation: "other", hash: "" }).inc();
      seriesOf("subscription", "ok").inc();
    },
    timed(client) {
      const took = {
        ok: fetches.series({ subgraph: client.name, outcome: "ok" }),
        error: fetches.series({ subgraph: client.name, outcome: "error" }),
      };
      return {
        name: client.name,
        execute(request) {
          const startedAtMs = performance.now();
          const pending = client.execute(request);
          // Registered first, this is done before the caller continues with the response. A client does not reject.
          void pending.then((response) => {
            const durationMs = performance.now() - startedAtMs;
            const failed = hasFailed(response);
            took[failed ? "error" : "ok"].observe(durationMs / 1_000);
            timingsOf(request)?.push({ subgraph: client.name, startedAtMs, durationMs, failed });
          }, ignored);
          return pending;
        },
        subscribe: (request) => client.subscribe(request),
        close: () => client.close(),
      };
    },
  };
}

/** The code that waits for it gets the error. */
const ignored = () => undefined;

function hasFailed({ data, errors }: SubgraphResponse): boolean {
  return errors !== undefined && errors.length > 0 && (data === undefined || data === null);
}

/** How long one subgraph took for one fetch. */
export interface FetchTiming {
  subgraph: string;
  startedAtMs: number;
  durationMs: number;
  failed: boolean;
}

function timingsOf({ context }: SubgraphRequest): FetchTiming[] | undefined {
  // Put there by the operation gate, on the context that goes through the executor untouched.
  return "fetches" in context ? (context.fetches as FetchTiming[] | undefined) : undefined;
}
