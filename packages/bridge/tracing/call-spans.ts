import { randomBytes } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";

import { isObject } from "@toolyard/service-kit/json.ts";
import { parseTraceparent } from "@toolyard/service-kit/tracing/trace-context.ts";
import { type Message, metaOf } from "../protocol/json-rpc.ts";
import { findValues, replaceValues } from "../protocol/json-splice.ts";
import { type ServerSpan, TRACE_HEADER } from "./trace-header.ts";

/**
 * Trace context on its way to servers on stdio, which have no headers: it goes into `_meta` (SEP-414). A bridge records no spans itself, since
 * replicas have neither the collector's credential nor a way to it: the proxy fetches what is to be said of a call.
 */
export interface CallSpans {
  /**
   * Gives a request the context of its headers, or that of a span which begins here. Changes the message, and answers its text.
   * @param headers Of the HTTP request
   */
  continue(message: Message, text: string, headers: IncomingHttpHeaders): string;
  /** The spans that have ended since the last time, each once. */
  drain(): ServerSpan[];
}

/** The span of one call of a server. */
export interface RunningSpan {
  /** The server is sent the request. */
  sent(): void;
  /** Ends it, once: later calls do nothing. */
  end(error: string | null): void;
}

/** Of calls that nobody fetched: a proxy does every second. */
const MAX_KEPT = 2_048;
const SAMPLED = 1;

/** By the request, on its way through the bridge. */
const running = new WeakMap<Message, RunningSpan>();

export function spanOf(message: Message): RunningSpan | null {
  return running.get(message) ?? null;
}

/** The class of an answer's error, by the semantic conventions. */
export function errorTypeOf({ error, result }: Message): string | null {
  if (error !== undefined) return String(error.code);
  return isObject(result) && result.isError === true ? "tool_error" : null;
}

export function createCallSpans({ now = () => performance.timeOrigin + performance.now() } = {}): CallSpans {
  const ended: ServerSpan[] = [];

  function begin(parentSpanId: string): { spanId: string; span: RunningSpan } {
    const spanId = randomBytes(8).toString("hex");
    let startedAt: number | null = null;
    let hasEnded = false;
    return {
      spanId,
      span: {
        sent: () => void (startedAt ??= now()),
        end(error) {
          if (hasEnded || startedAt === null) return;
          hasEnded = true;
          if (ended.length === MAX_KEPT) ended.shift();
          ended.push({ spanId, parentSpanId, startedAt, endedAt: now(), error });
        },
      },
    };
  }

  return {
    continue(message, text, headers) {
      const traceparent = oneOf(headers.traceparent);
      // The proxy makes up a context, not sampled, for calls that have none: servers would not record what they otherwise would.
      if (traceparent === undefined || traceparent.endsWith("-00")) return text;
      const parent = parseTraceparent(traceparent);
      if (parent === null || (Number.parseInt(parent.flags, 16) & SAMPLED) === 0) return text;
      if (headers[TRACE_HEADER] === undefined) {
        // A context in the message is the client's own, and nearer to the call than that of the HTTP request.
        if (metaOf(message.params)?.traceparent !== undefined) return text;
        return withContext(message, text, contextOf(traceparent, headers));
      }
      const { spanId, span } = begin(parent.spanId);
      running.set(message, span);
      const own = `00-${parent.traceId}-${spanId}-${parent.flags}`;
      const isOfMessage = metaOf(message.params)?.traceparent !== undefined;
      return withContext(message, text, isOfMessage ? { traceparent: own } : contextOf(own, headers));
    },
    drain: () => ended.splice(0),
  };
}

function oneOf(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
}

function contextOf(traceparent: string, headers: IncomingHttpHeaders): Record<string, string> {
  const context: Record<string, string> = { traceparent };
  for (const name of ["tracestate", "baggage"]) {
    const value = oneOf(headers[name]);
    if (value !== undefined && value !== "") context[name] = value;
  }
  return context;
}

/** All else of the text stays as it is. */
function withContext(message: Message, text: string, context: Record<string, string>): string {
  const { params = {} } = message;
  const { _meta: meta = {} } = params;
  if (!isObject(meta)) return text;
  const [given, added] = [Object.keys(context).filter((name) => name in meta), new Map(Object.entries(context))];
  message.params = { ...params, _meta: { ...meta, ...context } };
  let printed = replaceValues(
    text,
    given.map((name) => {
      added.delete(name);
      return { spans: findValues(text, ["params", "_meta", name]), text: JSON.stringify(context[name]) };
    }),
  );
  if (added.size === 0) return printed;
  const members = [...added].map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(",");
  for (const [path, opening, closing] of [
    [["params", "_meta"], "", ""],
    [["params"], '"_meta":{', "}"],
  ] as const) {
    const { start } = findValues(printed, path).at(-1) ?? {};
    if (start === undefined) continue;
    const isEmpty = /^\{\s*\}/.test(printed.slice(start, start + 64));
    printed = `${printed.slice(0, start + 1)}${opening}${members}${closing}${isEmpty ? "" : ","}${printed.slice(start + 1)}`;
    return printed;
  }
  return printed.replace(/\}\s*$/, () => `,"params":{"_meta":{${members}}}}`);
}
