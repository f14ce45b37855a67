import { randomUUID } from "node:crypto";
import { ROOT_CONTEXT, type SpanContext } from "@opentelemetry/api";
import { defaultResource, resourceFromAttributes } from "@opentelemetry/resources";
import { RandomIdGenerator, SamplingDecision, TraceIdRatioBasedSampler } from "@opentelemetry/sdk-trace-base";
import type { Logger } from "../index.ts";
import { createSpanExport } from "./span-export.ts";
import { openSpan, type OpenSpan, type SpanOptions } from "./span.ts";
import type { TraceParent } from "./trace-context.ts";
import type { TracingConfig } from "./tracing-config.ts";

/** The parts that a process makes spans with, and their way to the collector. */
export interface SpanSource {
  open(options: SpanOptions): OpenSpan;
  newSpanId(): string;
  newTraceId(): string;
  /** The trace that a parent leads to, or one that begins here. @param traceId Of one that begins here; a random one unless given */
  trace(parent: TraceParent | null, traceId?: string): StartedTrace;
  /** Sends the remaining spans. */
  close(): Promise<void>;
}

/** What is known of a trace at the first span in this process. */
export interface StartedTrace {
  traceId: string;
  traceFlags: number;
  /** Whether spans are recorded here. */
  isSampled: boolean;
  remote: SpanContext | undefined;
}

const SAMPLED = 1;
/** Flags of a later version say nothing here. */
const RANDOM = 2;
const FLUSH_MS = 5_000;

export function createSpanSource(options: {
  config: TracingConfig;
  /** The name of what records, and this software's version. */
  scope: { name: string; version: string };
  log: Pick<Logger, "warn" | "info">;
}): SpanSource {
  const { config, scope: instrumentationScope, log } = options;
  const ids = new RandomIdGenerator();
  const sampler = new TraceIdRatioBasedSampler(config.sampler.ratio);
  const spans = createSpanExport({ config, log });
  const scope = {
    resource: defaultResource().merge(
      resourceFromAttributes({
        "service.version": instrumentationScope.version,
        "service.instance.id": randomUUID(),
        ...config.resourceAttributes,
        "service.name": config.serviceName,
      }),
    ),
    instrumentationScope,
  };
  return {
    open: (span) => openSpan(span, scope, spans.add),
    newSpanId: () => ids.generateSpanId(),
    newTraceId: () => ids.generateTraceId(),
    trace(parent, own) {
      const traceId = parent?.traceId ?? own ?? ids.generateTraceId();
      const parentFlags = parent ? Number.parseInt(parent.flags, 16) : 0;
      const isSampled =
        parent && config.sampler.isParentBased
          ? (parentFlags & SAMPLED) !== 0
          : sampler.shouldSample(ROOT_CONTEXT, traceId).decision === SamplingDecision.RECORD_AND_SAMPLED;
      const traceFlags = (parentFlags & RANDOM) | (isSampled ? SAMPLED : 0);
      const remote: SpanContext | undefined = parent
        ? { traceId, spanId: parent.spanId, traceFlags: parentFlags & (SAMPLED | RANDOM), isRemote: true }
        : undefined;
      return { traceId, traceFlags, isSampled, remote };
    },
    close: () => spans.close(FLUSH_MS),
  };
}
