import { Report, type IPathErrorStats, type IReferencedFieldsForType } from "@apollo/usage-reporting-protobuf";
import { createDurationHistogram, type DurationHistogram } from "./duration-histogram.ts";

/** An operation as it is reported: equal for operations that differ in names of clients, aliases, order and values only. */
export interface ReportedOperation {
  /** `# Name` and, on the next line, the signature; `## …` for operations that could not be run. */
  key: string;
  referencedFieldsByType: Record<string, IReferencedFieldsForType>;
}

/** The client, as Apollo's clients identify themselves. */
export interface UsageOfRequest {
  clientName: string;
  clientVersion: string;
  /** Whether the text was known by its hash, or registered with it. */
  persisted: "hit" | "registered" | null;
}

/** One request, as it is counted. */
interface ReportedRequest {
  request: UsageOfRequest;
  durationMs: number;
  errors: readonly ReportedError[];
  /** Whether it counts as an operation: not when it held none that could be run. */
  isOperation: boolean;
}

/** An error without its words. */
export interface ReportedError {
  path?: readonly (string | number)[] | undefined;
  extensions?: Record<string, unknown> | undefined;
}

/** The counts of some seconds, as Apollo's ingress takes them. */
export interface UsageReport {
  /** By estimate. */
  readonly bytes: number;
  readonly isEmpty: boolean;
  /** With `maxBytes` reached, details that need more room are left out; the operation still counts. */
  add(operation: ReportedOperation, request: ReportedRequest): void;
  encode(endedAt: number): Uint8Array;
}

export interface ReportOptions {
  header: Record<"graphRef" | "hostname" | "agentVersion" | "runtimeVersion" | "uname" | "executableSchemaId", string>;
  maxBytes: number;
}

interface Counts {
  request: UsageOfRequest;
  latency: DurationHistogram;
  requests: number;
  /** Those that had an operation that could be run. */
  operations: number;
  failed: number;
  hits: number;
  registered: number;
  errors: Required<IPathErrorStats>;
}

interface Query {
  operation: ReportedOperation;
  clients: Map<string, Counts>;
}

export function createUsageReport({ header, maxBytes }: ReportOptions): UsageReport {
  const queries = new Map<string, Query>();
  let operations = 0;
  let bytes = 0;

  function queryOf(operation: ReportedOperation): Query | null {
    const known = queries.get(operation.key);
    if (known || bytes >= maxBytes) return known ?? null;
    const fresh = { operation, clients: new Map<string, Counts>() };
    queries.set(operation.key, fresh);
    bytes += sizeOf(operation.key);
    for (const [type, { fieldNames }] of Object.entries(operation.referencedFieldsByType)) {
      bytes += 6 + sizeOf(type);
      for (const name of fieldNames ?? []) bytes += sizeOf(name);
    }
    return fresh;
  }

  function countsOf({ clients }: Query, request: UsageOfRequest): Counts | null {
    // No name has a line feed: headers have none.
    const key = `${request.clientName}\n${request.clientVersion}`;
    const known = clients.get(key);
    if (known || bytes >= maxBytes) return known ?? null;
    const fresh: Counts = {
      request,
      latency: createDurationHistogram(),
      requests: 0,
      operations: 0,
      failed: 0,
      hits: 0,
      registered: 0,
      errors: noErrors(),
    };
    clients.set(key, fresh);
    // With the buckets of its histogram.
    bytes += 500 + sizeOf(request.clientName) + sizeOf(request.clientVersion);
    return fresh;
  }

  function addErrors(root: Required<IPathErrorStats>, errors: readonly ReportedError[]): void {
    const places = new Set<Required<IPathErrorStats>>();
    for (const { path = [], extensions } of errors) {
      const service = extensions?.["service"];
      let place = typeof service === "string" ? childOf(root, `service:${service}`) : root;
      for (const key of path) if (typeof key === "string") place = childOf(place, key);
      place.errorsCount = (place.errorsCount ?? 0) + 1;
      places.add(place);
    }
    for (const place of places) place.requestsWithErrorsCount = (place.requestsWithErrorsCount ?? 0) + 1;
  }

  function childOf(place: Required<IPathErrorStats>, key: string): Required<IPathErrorStats> {
    const children = place.children ?? {};
    // All are made here, and whole.
    const known = children[key] as Required<IPathErrorStats> | undefined;
    if (known || bytes >= maxBytes) return known ?? place;
    const fresh = noErrors();
    children[key] = fresh;
    bytes += 4 + sizeOf(key);
    return fresh;
  }

  return {
    get bytes() {
      return bytes;
    },
    get isEmpty() {
      return operations === 0 && queries.size === 0;
    },
    add(operation, { request, durationMs, errors, isOperation }) {
      if (isOperation) operations++;
      const query = queryOf(operation);
      const counts = query && countsOf(query, request);
      if (!counts) return;
      counts.requests++;
      if (isOperation) counts.operations++;
      counts.latency.add(durationMs);
      if (request.persisted === "hit") counts.hits++;
      if (request.persisted === "registered") counts.registered++;
      if (errors.length === 0) return;
      counts.failed++;
      addErrors(counts.errors, errors);
    },
    encode(endedAt) {
      const milliseconds = endedAt % 1_000;
      return Report.encode({
        header,
        endTime: { seconds: (endedAt - milliseconds) / 1_000, nanos: milliseconds * 1_000_000 },
        operationCount: operations,
        tracesPerQuery: Object.fromEntries(
          [...queries].map(([key, { operation, clients }]) => [
            key,
            {
              referencedFieldsByType: operation.referencedFieldsByType,
              statsWithContext: [...clients.values()].map(statsOf),
            },
          ]),
        ),
      }).finish();
    },
  };
}

function statsOf({ request, latency, requests, operations, failed, hits, registered, errors }: Counts) {
  return {
    context: { clientName: request.clientName, clientVersion: request.clientVersion },
    queryLatencyStats: {
      latencyCount: latency.toArray(),
      requestCount: requests,
      // Fields are not timed: subgraphs are not asked for traces.
      requestsWithoutFieldInstrumentation: operations,
      requestsWithErrorsCount: failed,
      persistedQueryHits: hits,
      persistedQueryMisses: registered,
      rootErrorStats: errors,
    },
  };
}

function noErrors(): Required<IPathErrorStats> {
  // A field may be called like any property of plain objects.
  const children: Record<string, IPathErrorStats> = Object.create(null);
  return { children, errorsCount: 0, requestsWithErrorsCount: 0 };
}

function sizeOf(text: string): number {
  return 2 + Buffer.byteLength(text);
}
