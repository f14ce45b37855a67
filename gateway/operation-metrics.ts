import { Counter, Histogram, type Registry } from "prom-client";
import type { AdmittedOperation } from "./admission.ts";
import type { SubgraphClient, SubgraphRequest, SubgraphResponse } from "./execution/subgraph-client.ts";

/** What is counted of GraphQL operations. Names come from clients: only so many are told apart, the rest is `other`. */
export interface OperationMetrics {
  /** @param operation null for one that was refused before it was known */
  operation(operation: CountedOperation | null, outcome: "ok" | "error", seconds: number): void;
  subscription(operation: CountedOperation): void;
  /** The same client, its fetches timed: here, and in the operation's own context where that asks for it. */
  timed(client: SubgraphClient): SubgraphClient;
}

export type CountedOperation = Pick<AdmittedOperation, "kind" | "name" | "hash">;

export function createOperationMetrics(options: { registry: Registry; maxOperations: number }): OperationMetrics {
  const { registry, maxOperations } = options;
  const registers = [registry];
  const operations = new Counter({
    name: "graphql_operations_total",
    help: "GraphQL operations executed.",
    labelNames: ["type", "outcome"],
    registers,
  });
  const durations = new Histogram({
    name: "graphql_operation_duration_seconds",
    help: "Time of a GraphQL operation from its admission to its result, by its name and the start of its text's SHA-256.",
    labelNames: ["operation", "hash", "outcome"],
    buckets: [0.005, 0.025, 0.1, 0.5, 2.5, 10],
    registers,
  });
  const subscriptions = new Counter({
    name: "graphql_subscriptions_total",
    help: "Subscriptions begun, by name and the start of the text's SHA-256.",
    labelNames: ["operation", "hash"],
    registers,
  });
  const fetches = new Histogram({
    name: "graphql_subgraph_fetch_duration_seconds",
    help: "Time of one fetch from a subgraph.",
    labelNames: ["subgraph", "outcome"],
    buckets: [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10],
    registers,
  });
  /** Hashes of those that are told apart. */
  const seen = new Set<string>();

  function labelsOf({ hash, name }: CountedOperation): { operation: string; hash: string } {
    if (!seen.has(hash)) {
      if (seen.size >= maxOperations) return { operation: "other", hash: "" };
      seen.add(hash);
    }
    // A name may be as long as its author likes.
    return { operation: (name ?? "").slice(0, 64), hash };
  }

  return {
    operation(operation, outcome, seconds) {
      operations.inc({ type: operation?.kind ?? "unknown", outcome });
      if (operation) durations.observe({ ...labelsOf(operation), outcome }, seconds);
    },
    subscription(operation) {
      subscriptions.inc(labelsOf(operation));
      operations.inc({ type: "subscription", outcome: "ok" });
    },
    timed(client) {
      return {
        name: client.name,
        async execute(request) {
          const startedAtMs = performance.now();
          const response = await client.execute(request);
          const durationMs = performance.now() - startedAtMs;
          const failed = hasFailed(response);
          fetches.observe({ subgraph: client.name, outcome: failed ? "error" : "ok" }, durationMs / 1_000);
          timingsOf(request)?.push({ subgraph: client.name, startedAtMs, durationMs, failed });
          return response;
        },
        subscribe: (request) => client.subscribe(request),
        close: () => client.close(),
      };
    },
  };
}

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
