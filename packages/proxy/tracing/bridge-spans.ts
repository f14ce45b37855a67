import { SpanKind } from "@opentelemetry/api";
import { SPANS_PATH, type ServerSpan } from "@toolyard/bridge/tracing/trace-header.ts";
import { messageOf, type Logger } from "@toolyard/service-kit";
import { collectBytes } from "@toolyard/service-kit/http/byte-collector.ts";
import { clockOffsetNow } from "@toolyard/service-kit/tracing/span.ts";
import type { SpanSource } from "@toolyard/service-kit/tracing/span-source.ts";
import { z } from "zod";
import type { Replica } from "../routing/replica.ts";
import type { CallSpan } from "./call-span.ts";

/**
 * Fetches what bridges know of the calls that they passed to their servers, and records it: a replica has neither the collector's
 * credential nor a way to it. It says when a call began and ended, and whether well, and of calls that were recorded only.
 */
export interface BridgeSpans {
  /** A recorded call has ended, which its bridge may know more of. @param isLeft Its client went away, and the server may still be at it. */
  ended(replica: Replica, call: CallSpan, isLeft: boolean): void;
  /** Fetches what is left. */
  close(): Promise<void>;
}

const FETCH_AFTER_MS = 1_000;
const FETCH_MS = 2_000;
/** Of one replica; those of calls beyond it are not asked for. */
const MAX_CALLS = 4_096;
const MAX_ANSWER_BYTES = 2 * 1024 * 1024;
/** How often a bridge is asked about a call, some of which it answers itself, and about one that its server may still be at. */
const FETCHES = 2;
const FETCHES_WHEN_LEFT = 60;

const spanId = z.string().regex(/^(?!0{16})[0-9a-f]{16}$/);
const serverSpan: z.ZodType<ServerSpan> = z.object({
  spanId,
  parentSpanId: spanId,
  startedAt: z.number().positive(),
  endedAt: z.number().positive(),
  error: z
    .string()
    .regex(/^[\w-]{1,32}$/)
    .nullable(),
});
const answerSchema = z.object({ spans: z.array(serverSpan).max(MAX_CALLS) });

interface Waiting {
  call: CallSpan;
  fetchesLeft: number;
}

export function createBridgeSpans(options: { source: SpanSource; log: Pick<Logger, "debug"> }): BridgeSpans {
  const { source, log } = options;
  /** Calls of which their bridges have not told yet, by span id. */
  const waiting = new Map<Replica, Map<string, Waiting>>();
  let timer: NodeJS.Timeout | null = null;

  async function fetchFrom(replica: Replica): Promise<ServerSpan[]> {
    const { statusCode, body } = await replica.pool().request({
      method: "POST",
      path: SPANS_PATH,
      headers: [...replica.headers],
      headersTimeout: FETCH_MS,
      bodyTimeout: FETCH_MS,
    });
    // undici's body yields Buffers unless an encoding was set on it.
    const answer = await collectBytes(
      body as AsyncIterable<Buffer>,
      MAX_ANSWER_BYTES,
      () => new Error("the answer is too long"),
    );
    if (statusCode !== 200) throw new Error(`HTTP ${statusCode}`);
    return answerSchema.parse(JSON.parse(answer.toString())).spans;
  }

  function record(replica: Replica, { span, name, attributes }: CallSpan, told: ServerSpan): void {
    const { startedAt, endedAt, error } = told;
    const clockOffset = clockOffsetNow();
    const recorded = source.open({
      name,
      kind: SpanKind.CLIENT,
      context: { ...span.context, spanId: told.spanId },
      parent: span.context,
      attributes: { ...attributes, "network.transport": "pipe", "toolyard.replica.id": replica.id },
      startedAt: startedAt - clockOffset,
      clockOffset,
    });
    if (error !== null && /^-?\d+$/.test(error)) recorded.attributes["rpc.response.status_code"] = error;
    recorded.end(error, Math.max(startedAt, endedAt) - clockOffset);
  }

  async function ask(replica: Replica, calls: Map<string, Waiting>): Promise<void> {
    let spans: ServerSpan[];
    try {
      spans = await fetchFrom(replica);
    } catch (error) {
      // It ended, or is of an earlier version: its part of these traces is missing.
      log.debug({ replica_id: replica.id, reason: messageOf(error) }, "a bridge's spans were not fetched");
      waiting.delete(replica);
      return;
    }
    for (const told of spans) {
      const found = calls.get(told.parentSpanId);
      if (found === undefined) continue;
      calls.delete(told.parentSpanId);
      record(replica, found.call, told);
    }
    for (const [id, entry] of calls) {
      entry.fetchesLeft -= 1;
      if (entry.fetchesLeft === 0) calls.delete(id);
    }
    if (calls.size === 0) waiting.delete(replica);
  }

  async function askAll(): Promise<void> {
    await Promise.all([...waiting].map(([replica, calls]) => ask(replica, calls)));
  }

  function schedule(): void {
    timer ??= setTimeout(() => {
      timer = null;
      // It never rejects: failures are in the log.
      void askAll().then(() => {
        if (waiting.size > 0) schedule();
      });
    }, FETCH_AFTER_MS).unref();
  }

  return {
    ended(replica, call, isLeft) {
      const calls = waiting.get(replica) ?? new Map<string, Waiting>();
      waiting.set(replica, calls);
      const fetchesLeft = isLeft ? FETCHES_WHEN_LEFT : FETCHES;
      if (calls.size < MAX_CALLS) calls.set(call.span.context.spanId, { call, fetchesLeft });
      schedule();
    },
    async close() {
      if (timer !== null) clearTimeout(timer);
      timer = null;
      await askAll();
    },
  };
}
