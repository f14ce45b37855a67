import { setTimeout as delay } from "node:timers/promises";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { BatchSpanProcessor, type ReadableSpan, type SpanExporter } from "@opentelemetry/sdk-trace-base";
import { messageOf, type Logger } from "../index.ts";
import type { TracingConfig } from "./tracing-config.ts";

/** Sends ended spans, in batches and in the background. */
export interface SpanExport {
  /** Never waits. When the queue is full, the span is dropped. */
  add(span: ReadableSpan): void;
  /** Sends the remaining spans, for `timeoutMs` at most. */
  close(timeoutMs: number): Promise<void>;
}

type ExporterOptions = NonNullable<ConstructorParameters<typeof OTLPTraceExporter>[0]>;

/** OTLP over HTTP with protobuf bodies. A collector that refuses them is logged once, and again when it accepts them. */
export function createSpanExport(options: { config: TracingConfig; log: Pick<Logger, "warn" | "info"> }): SpanExport {
  const { config, log } = options;
  // Everything is given, so the exporter and the processor look nothing up in the process's environment.
  const exporter = new OTLPTraceExporter({
    url: config.url,
    headers: config.headers,
    timeoutMillis: config.timeoutMs,
    // Of the enum of a package that is not ours to import; its values are these words.
    compression: config.compression as NonNullable<ExporterOptions["compression"]>,
    httpAgentOptions: { keepAlive: true, ...config.tls },
    concurrencyLimit: 30,
  });
  const { delayMs, maxQueued, maxSize, timeoutMs } = config.batch;
  const processor = new BatchSpanProcessor(tellOnce(exporter, new URL(config.url).host, log), {
    scheduledDelayMillis: delayMs,
    maxQueueSize: maxQueued,
    maxExportBatchSize: maxSize,
    exportTimeoutMillis: timeoutMs,
  });
  return {
    add: (span) => processor.onEnd(span),
    async close(limitMs) {
      const timer = new AbortController();
      const tooLate = delay(limitMs, undefined, { signal: timer.signal }).catch(() => undefined); // cancelled below
      // Failures here have been logged already.
      await Promise.race([processor.shutdown().catch(() => undefined), tooLate]);
      timer.abort();
    },
  };
}

/** @param host the only part of the address in messages: the rest may be secret */
function tellOnce(exporter: SpanExporter, host: string, log: Pick<Logger, "warn" | "info">): SpanExporter {
  let lost = 0;
  return {
    export(spans, onResult) {
      exporter.export(spans, (result) => {
        if (result.error) {
          if (lost === 0) {
            const reason = reasonOf(result.error);
            log.warn({ collector: host, reason }, "the collector does not take traces; they are dropped until it does");
          }
          lost += spans.length;
        } else if (lost > 0) {
          log.info({ collector: host, lost_spans: lost }, "the collector takes traces again");
          lost = 0;
        }
        onResult(result);
      });
    },
    shutdown: () => exporter.shutdown(),
  };
}

/** Without the body of the collector's answer, which may hold anything. */
function reasonOf(error: Error): string {
  const code =
    "code" in error && (typeof error.code === "number" || typeof error.code === "string") ? error.code : null;
  const message = messageOf(error);
  if (typeof code === "number") return `HTTP ${code} ${message}`.trim();
  return message === "" ? String(code ?? "no answer") : message;
}
