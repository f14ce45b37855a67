import type { Attributes, HrTime, Link, SpanContext, SpanKind } from "@opentelemetry/api";
import type { ReadableSpan } from "@opentelemetry/sdk-trace-base";

/** Epoch milliseconds less `performance.now()`: converts the one clock to the other. Taken once for a trace, whose spans then agree. */
export type ClockOffset = number;

export function clockOffsetNow(): ClockOffset {
  return Date.now() - performance.now();
}

/** Attributes that all spans of this process have in common. */
export type SpanScope = Pick<ReadableSpan, "resource" | "instrumentationScope">;

export interface SpanOptions {
  name: string;
  kind: SpanKind;
  context: SpanContext;
  parent: SpanContext | undefined;
  attributes: Attributes;
  links?: Link[];
  /** By `performance.now()`. */
  startedAt: number;
  clockOffset: ClockOffset;
}

/** A span that runs. */
export interface OpenSpan {
  readonly context: SpanContext;
  readonly attributes: Attributes;
  /**
   * Ends it, once: later calls do nothing.
   * @param error the error's name; null when there was none
   * @param endedAt by `performance.now()`; now unless given
   */
  end(error: string | null, endedAt?: number): void;
}

/**
 * A span as the SDK's processors and exporters take it. Made by hand, not by the SDK's tracer: that one looks for a parent in an
 * asynchronous context and checks each attribute twice, which costs several times as much as the recording itself.
 */
export function openSpan(options: SpanOptions, scope: SpanScope, onEnd: (span: ReadableSpan) => void): OpenSpan {
  const { name, kind, context, parent, attributes, links = [], startedAt, clockOffset } = options;
  let hasEnded = false;
  return {
    context,
    attributes,
    end(error, endedAt = performance.now()) {
      if (hasEnded) return;
      hasEnded = true;
      if (error !== null) attributes["error.type"] = error;
      onEnd({
        name,
        kind,
        spanContext: () => context,
        ...(parent && { parentSpanContext: parent }),
        startTime: timeOf(startedAt + clockOffset),
        endTime: timeOf(endedAt + clockOffset),
        duration: timeOf(endedAt - startedAt),
        status: { code: error === null ? UNSET : ERROR },
        attributes,
        links,
        events: [],
        ended: true,
        resource: scope.resource,
        instrumentationScope: scope.instrumentationScope,
        droppedAttributesCount: 0,
        droppedEventsCount: 0,
        droppedLinksCount: 0,
      });
    },
  };
}

// SpanStatusCode of the API, which is loaded only where traces are on.
const UNSET = 0;
const ERROR = 2;

/** Whole seconds, and nanoseconds beyond them. */
function timeOf(milliseconds: number): HrTime {
  const seconds = Math.trunc(milliseconds / 1_000);
  return [seconds, Math.trunc((milliseconds - seconds * 1_000) * 1_000_000)];
}

/** The header by which a span is a parent to others. */
export function traceparentOf({ traceId, spanId, traceFlags }: SpanContext): string {
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, "0")}`;
}
