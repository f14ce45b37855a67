import type { IncomingMessage } from "node:http";
import { SpanKind, createTraceState, type Attributes, type SpanContext } from "@opentelemetry/api";
import type { Logger } from "@toolyard/service-kit";
import { clockOffsetNow, traceparentOf } from "@toolyard/service-kit/tracing/span.ts";
import { createSpanSource, type StartedTrace } from "@toolyard/service-kit/tracing/span-source.ts";
import { parseTraceparent, tracestateOf } from "@toolyard/service-kit/tracing/trace-context.ts";
import type { TracingConfig } from "@toolyard/service-kit/tracing/tracing-config.ts";
import type { SubgraphClient } from "../execution/clients/subgraph-client.ts";
import { createOperationTracer, type OperationTracer, type Trace } from "./operation-tracer.ts";
import { traceFetches } from "./traced-client.ts";

/** Records requests and operations as OpenTelemetry spans, by its semantic conventions. */
export interface Tracing {
  /**
   * Begins the span of an HTTP request, the parent of the context that `contextOf` gives for it.
   * @param route The pattern of its path, never the path itself
   */
  request(request: IncomingMessage, startedAt: number, route: string): RequestSpan;
  /** The tracing context of an operation that came by a request, or by a socket that the request opened. */
  contextOf(request: Pick<IncomingMessage, "headers">): TraceOfRequest;
  /** The same client, its fetches recorded for operations that are. */
  traced(client: SubgraphClient): SubgraphClient;
  /** Sends the remaining spans. */
  close(): Promise<void>;
}

/** An HTTP request in progress. */
export interface RequestSpan {
  /** @param status null when nothing was answered, as the client was gone */
  end(status: number | null): void;
}

/** The tracing part of an operation's context. */
export interface TraceOfRequest {
  traceparent: string;
  tracestate?: string;
  /** Absent where the trace is not recorded. */
  tracer?: OperationTracer;
}

export interface TracingOptions {
  config: TracingConfig;
  /** Of this software. */
  version: string;
  log: Pick<Logger, "warn" | "info">;
}

const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"]);
const unrecorded: RequestSpan = { end: () => undefined };

export function createTracing({ config, version, log }: TracingOptions): Tracing {
  const recorder = createSpanSource({ config, scope: { name: "@toolyard/gateway", version }, log });
  /** By the requests that opened them. */
  const traces = new WeakMap<Pick<IncomingMessage, "headers">, Trace & StartedTrace>();

  /** The trace that a request brings, or one that begins with it. */
  function traceOf({ headers }: Pick<IncomingMessage, "headers">) {
    const parent = parseTraceparent(headers.traceparent);
    const trace = recorder.trace(parent);
    const tracestate = parent ? tracestateOf(headers) : undefined;
    return {
      ...trace,
      parent: trace.remote,
      clockOffset: clockOffsetNow(),
      ...(tracestate !== undefined && { tracestate, traceState: createTraceState(tracestate) }),
    };
  }

  return {
    request(request, startedAt, route) {
      const trace = traceOf(request);
      const { traceId, traceFlags, remote, clockOffset, isSampled } = trace;
      const { traceState } = trace;
      const context: SpanContext = {
        traceId,
        spanId: recorder.newSpanId(),
        traceFlags,
        ...(traceState && { traceState }),
      };
      traces.set(request, { ...trace, parent: context });
      if (!isSampled) return unrecorded;
      const method = METHODS.has(request.method ?? "") ? (request.method ?? "") : null;
      const [path = ""] = (request.url ?? "").split("?", 1);
      const attributes: Attributes = {
        "http.request.method": method ?? "_OTHER",
        "url.scheme": "http",
        // Without the query: variables may be in it.
        "url.path": path,
        "http.route": route,
        "network.protocol.version": request.httpVersion,
      };
      const agent = request.headers["user-agent"];
      if (agent !== undefined) attributes["user_agent.original"] = agent.slice(0, 256);
      const span = recorder.open({
        name: `${method ?? "HTTP"} ${route}`,
        kind: SpanKind.SERVER,
        context,
        parent: remote,
        attributes,
        startedAt,
        clockOffset,
      });
      return {
        end(status) {
          if (status !== null) attributes["http.response.status_code"] = status;
          span.end(status !== null && status >= 500 ? String(status) : null);
        },
      };
    },
    contextOf(request) {
      const known = traces.get(request);
      const trace = known ?? traceOf(request);
      const { traceId, traceFlags, parent, tracestate, isSampled } = trace;
      const spanId = parent && parent !== trace.remote ? parent.spanId : recorder.newSpanId();
      return {
        traceparent: traceparentOf({ traceId, spanId, traceFlags }),
        ...(tracestate !== undefined && { tracestate }),
        ...(isSampled && { tracer: createOperationTracer(trace, recorder) }),
      };
    },
    traced: traceFetches,
    close: () => recorder.close(),
  };
}
