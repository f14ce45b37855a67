import { SpanKind, type Attributes, type Link, type SpanContext, type TraceState } from "@opentelemetry/api";
import { clockOffsetNow, traceparentOf, type ClockOffset, type OpenSpan } from "@toolyard/service-kit/tracing/span.ts";
import type { SpanSource } from "@toolyard/service-kit/tracing/span-source.ts";
import type {
  EventTrace,
  FetchTrace,
  OperationContext,
  OperationTrace,
  SubgraphError,
} from "../execution/clients/subgraph-client.ts";
import type { CountedOperation } from "./operation-metrics.ts";

/** One trace that is recorded. */
export interface Trace {
  traceId: string;
  traceFlags: number;
  /** The context of operations; undefined: the trace begins with one. */
  parent: SpanContext | undefined;
  /** Other tracing systems' entries, unchanged. */
  tracestate?: string;
  traceState?: TraceState;
  clockOffset: ClockOffset;
}

/** The parts that spans are made with. */
type TraceRecorder = Pick<SpanSource, "open" | "newSpanId" | "newTraceId">;

/** Records the operations of one request, or one of a socket. */
export interface OperationTracer {
  /** @param startedAt by `performance.now()` */
  operation(operation: CountedOperation, startedAt: number): OperationSpan;
}

/** An operation that runs; for a subscription, its start. */
export interface OperationSpan {
  /** The context in which work for the operation is recorded. */
  inside<Context extends OperationContext>(context: Context): Context;
  /** Ends it, once: later calls do nothing. */
  end(errors?: Errors): void;
}

type Errors = readonly Pick<SubgraphError, "extensions">[];

/** Names come from clients, who may make them as long as they like. */
const MAX_NAME = 128;

export function createOperationTracer(trace: Trace, recorder: TraceRecorder): OperationTracer {
  return {
    operation({ kind, name, hash }, startedAt) {
      const title = name === null ? kind : `${kind} ${name.slice(0, MAX_NAME)}`;
      const attributes: Attributes = { "graphql.operation.type": kind, "graphql.document.hash": hash };
      if (name !== null) attributes["graphql.operation.name"] = name.slice(0, MAX_NAME);
      const span = recorder.open({
        name: title,
        // On a socket there is no request of which it could be a part.
        kind: trace.parent === undefined || trace.parent.isRemote ? SpanKind.SERVER : SpanKind.INTERNAL,
        context: childOf(trace, recorder),
        parent: trace.parent,
        attributes: { ...attributes },
        startedAt,
        clockOffset: trace.clockOffset,
      });
      const within = createOperationTrace({ trace, span, title, attributes }, recorder);
      return {
        inside(context) {
          span.attributes["toolyard.request.id"] = context.requestId;
          return { ...context, trace: within, traceparent: traceparentOf(span.context) };
        },
        end: (errors) => span.end(errorCodeOf(errors)),
      };
    },
  };
}

interface Within {
  trace: Trace;
  /** The parent of all spans. */
  span: OpenSpan;
  /** Of the operation. */
  title: string;
  attributes: Attributes;
}

function createOperationTrace(within: Within, recorder: TraceRecorder): OperationTrace {
  const { trace, span, title, attributes } = within;

  function child(name: string, kind: SpanKind, own: Attributes): OpenSpan {
    return recorder.open({
      name,
      kind,
      context: childOf(trace, recorder),
      parent: span.context,
      attributes: own,
      startedAt: performance.now(),
      clockOffset: trace.clockOffset,
    });
  }

  return {
    plan() {
      const planning = child("plan", SpanKind.INTERNAL, {});
      return (failed) => planning.end(failed ? "PLANNING_FAILED" : null);
    },
    fetch(subgraph, url): FetchTrace {
      const own: Attributes = { "graphql.subgraph.name": subgraph };
      if (url) {
        own["http.request.method"] = "POST";
        // Credentials and query may be secret.
        own["url.full"] = `${url.origin}${url.pathname}`;
        own["server.address"] = url.hostname;
        own["server.port"] = Number(url.port) || (url.protocol === "https:" ? 443 : 80);
      }
      const fetching = child(`fetch ${subgraph}`, url ? SpanKind.CLIENT : SpanKind.INTERNAL, own);
      return {
        traceparent: traceparentOf(fetching.context),
        onStatus(status) {
          own["http.response.status_code"] = status;
        },
        end: (errors) => fetching.end(errorCodeOf(errors)),
      };
    },
    subscribed(subgraph) {
      span.attributes["graphql.subgraph.name"] = subgraph;
      // A stream may last for days; from here on, its events are recorded.
      span.end(null);
    },
    event(): EventTrace {
      const own: Trace = {
        traceId: recorder.newTraceId(),
        traceFlags: trace.traceFlags,
        parent: undefined,
        clockOffset: clockOffsetNow(),
      };
      const links: Link[] = [{ context: span.context }];
      const event = recorder.open({
        name: `${title} event`,
        kind: SpanKind.CONSUMER,
        context: childOf(own, recorder),
        parent: undefined,
        attributes: { ...attributes },
        links,
        startedAt: performance.now(),
        clockOffset: own.clockOffset,
      });
      return {
        inside({ tracestate: _ofAnotherTrace, ...context }) {
          const within = createOperationTrace({ trace: own, span: event, title, attributes }, recorder);
          return { ...context, trace: within, traceparent: traceparentOf(event.context) };
        },
        end: (errors) => event.end(errorCodeOf(errors)),
      };
    },
  };
}

function childOf({ traceId, traceFlags, traceState }: Trace, recorder: TraceRecorder): SpanContext {
  return { traceId, spanId: recorder.newSpanId(), traceFlags, ...(traceState && { traceState }) };
}

/** The name that spans give to the first of some errors: its code, never its words, which may hold anything. */
function errorCodeOf(errors: Errors | undefined): string | null {
  const [first] = errors ?? [];
  if (!first) return null;
  const code = first.extensions?.["code"];
  return typeof code === "string" && /^\w{1,64}$/.test(code) ? code : "INTERNAL_SERVER_ERROR";
}
