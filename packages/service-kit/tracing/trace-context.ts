import { randomBytes } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";

/** A client's `traceparent` (https://www.w3.org/TR/trace-context/). */
export interface TraceParent {
  /** 32 hexadecimal digits. */
  traceId: string;
  /** Of the client's span: 16 hexadecimal digits. */
  spanId: string;
  /** 2 hexadecimal digits; the lowest bit: sampled. */
  flags: string;
}

/** @returns null when there is none, or it is malformed */
export function parseTraceparent(header: string | string[] | undefined): TraceParent | null {
  if (typeof header !== "string") return null;
  const match = /^(?!ff)[0-9a-f]{2}-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-([0-9a-f]{2})(?:$|-)/.exec(header);
  const [, traceId = "", spanId = "", flags = ""] = match ?? [];
  return match ? { traceId, spanId, flags } : null;
}

/** The headers of a trace that go on to subgraphs. */
export interface ContinuedTrace {
  traceparent: string;
  tracestate?: string;
}

/**
 * The header that goes on to subgraphs for a request that came with `traceparent`, where no spans are recorded: the same trace with the
 * gateway as the parent. Undefined when there is none, or it is malformed.
 */
export function continueTrace(headers: IncomingHttpHeaders): ContinuedTrace | undefined {
  if (headers["traceparent"] === undefined) return undefined;
  const parent = parseTraceparent(headers["traceparent"]);
  if (!parent) return undefined;
  const traceparent = `00-${parent.traceId}-${randomBytes(8).toString("hex")}-${parent.flags}`;
  const tracestate = tracestateOf(headers);
  return tracestate === undefined ? { traceparent } : { traceparent, tracestate };
}

/** `tracestate`, vendors' part of the trace context: passed on unchanged. */
export function tracestateOf(headers: IncomingHttpHeaders): string | undefined {
  const given = headers["tracestate"];
  const text = Array.isArray(given) ? given.join() : given;
  return text === undefined || text === "" || /[^\t\x20-\x7e]/.test(text) ? undefined : text;
}
