import { SpanKind, type Attributes, type SpanContext } from "@opentelemetry/api";
import { findValues, replaceValues } from "@toolyard/bridge/protocol/json-splice.ts";
import type { Logger } from "@toolyard/service-kit";
import { clockOffsetNow, traceparentOf } from "@toolyard/service-kit/tracing/span.ts";
import { createSpanSource } from "@toolyard/service-kit/tracing/span-source.ts";
import { parseTraceparent, type TraceParent } from "@toolyard/service-kit/tracing/trace-context.ts";
import type { TracingConfig } from "@toolyard/service-kit/tracing/tracing-config.ts";
import type { Call } from "../calls/call.ts";
import { isMcpEndpoint, isMcpPath, USUAL_MCP_PATH } from "../calls/call-path.ts";
import { wholeBody } from "../calls/request-body.ts";
import type { McpCall } from "../mcp/mcp-call.ts";
import { idTextOf } from "../mcp/round-trips.ts";
import { createBridgeSpans } from "./bridge-spans.ts";

/** Records calls of MCP as OpenTelemetry spans, by its semantic conventions for MCP (open-telemetry/semantic-conventions-genai). */
export interface CallTracing {
  /** Begins the span of a call, if its trace is recorded: the context that goes on to the replica is then the span's. */
  begin(call: Call, mcp: McpCall): void;
  /** Ends it; that of a call that was refused before it began has no length. */
  end(call: Call, mcp: McpCall): void;
  /** Sends the remaining spans. */
  close(): Promise<void>;
}

/** Names come from clients, who may make them as long as they like. */
const MAX_NAME = 128;
const TRACE_ID = /^[\da-f]{32}$/;
const TRACEPARENT_PATH = ["params", "_meta", "traceparent"];
const VERSION_HEADER = "mcp-protocol-version";

export function createCallTracing(options: {
  config: TracingConfig;
  version: string;
  log: Pick<Logger, "warn" | "info" | "debug">;
}): CallTracing {
  const { config, version, log } = options;
  const source = createSpanSource({ config, scope: { name: "@toolyard/proxy", version }, log });
  const bridges = createBridgeSpans({ source, log });

  function begin(call: Call, mcp: McpCall): void {
    if (call.span !== null || mcp.method === null || !isMcp(call)) return;
    const { head, requestId, request } = call;
    const ofMessage = contextInBody(call);
    const ofRequest = parseTraceparent(head.traceparent);
    const trace = source.trace(ofMessage?.parent ?? ofRequest, TRACE_ID.test(requestId) ? requestId : undefined);
    if (!trace.isSampled) return;
    const { traceId, traceFlags } = trace;
    const context: SpanContext = { traceId, spanId: source.newSpanId(), traceFlags };
    const { name, attributes } = describe(call, mcp);
    const span = source.open({
      name,
      kind: SpanKind.SERVER,
      context,
      parent: trace.remote,
      attributes: {
        ...attributes,
        "network.transport": "tcp",
        "network.protocol.name": "http",
        "network.protocol.version": request.httpVersion,
        "toolyard.tool.slug": call.path.slug,
        "toolyard.request.id": requestId,
      },
      // A message's context is nearer to the call than that of the HTTP request, which may belong to others, too.
      ...(ofMessage && ofRequest && { links: [{ context: linkOf(ofRequest) }] }),
      startedAt: call.startedMs,
      clockOffset: clockOffsetNow(),
    });
    call.span = { span, name, attributes };
    call.traceparent = traceparentOf(context);
    ofMessage?.replace(call.traceparent);
  }

  return {
    begin,
    end(call, mcp) {
      begin(call, mcp);
      const { span: running, outcome, status, isStream, bridge } = call;
      if (running === null) return;
      const { attributes } = running.span;
      attributes["http.response.status_code"] = status;
      if (call.replicaId !== null) attributes["toolyard.replica.id"] = call.replicaId;
      const { failure = null, errorCode = null } = outcome ?? {};
      if (errorCode !== null) attributes["rpc.response.status_code"] = String(errorCode);
      if (failure === "TOOL_ERROR") running.span.end("tool_error");
      else if (failure === "RPC_ERROR") running.span.end(errorCode === null ? "_OTHER" : String(errorCode));
      else running.span.end(status >= 400 && !isStream ? String(status) : null);
      // Notifications have no answer, so their bridge has nothing to say of them.
      if (bridge !== null && running.attributes["jsonrpc.request.id"] !== undefined)
        bridges.ended(bridge, running, call.gone);
    },
    async close() {
      await bridges.close();
      await source.close();
    },
  };
}

/** Whether it is a message to an MCP endpoint, as far as that is known. */
function isMcp({ request, path, deployment }: Call): boolean {
  if (request.method !== "POST") return false;
  return deployment === null ? isMcpPath(path.path, USUAL_MCP_PATH) : isMcpEndpoint(path.path, deployment);
}

/** The trace context in a message's `_meta` (SEP-414); null when there is none. */
function contextInBody(call: Call): { parent: TraceParent; replace: (traceparent: string) => void } | null {
  const { content } = call.body;
  if (!Buffer.isBuffer(content) || !content.includes("traceparent")) return null;
  // One character for each byte, so that bytes stay what they are.
  const text = content.toString("latin1");
  const spans = findValues(text, TRACEPARENT_PATH);
  const last = spans.at(-1);
  if (last === undefined) return null;
  const parent = parseTraceparent(text.slice(last.start + 1, last.end - 1));
  if (parent === null) return null;
  return {
    parent,
    replace(traceparent) {
      const replaced = replaceValues(text, [{ spans, text: JSON.stringify(traceparent) }]);
      call.body = wholeBody(Buffer.from(replaced, "latin1"));
    },
  };
}

function describe({ head, body }: Call, { method, name }: McpCall): { name: string; attributes: Attributes } {
  const named = method?.slice(0, MAX_NAME) ?? "";
  const attributes: Attributes = { "mcp.method.name": named };
  // A resource's URI may reveal too much.
  const target = method === "tools/call" || method === "prompts/get" ? (name?.slice(0, MAX_NAME) ?? null) : null;
  if (target !== null) attributes[method === "tools/call" ? "gen_ai.tool.name" : "gen_ai.prompt.name"] = target;
  if (method === "tools/call") attributes["gen_ai.operation.name"] = "execute_tool";
  const id = Buffer.isBuffer(body.content) ? idTextOf(body.content) : "null";
  if (id !== "null") attributes["jsonrpc.request.id"] = id.replace(/^"|"$/g, "").slice(0, MAX_NAME);
  if (head.sessionId !== undefined) attributes["mcp.session.id"] = head.sessionId;
  const at = head.passed.indexOf(VERSION_HEADER);
  if (at !== -1) attributes["mcp.protocol.version"] = (head.passed[at + 1] ?? "").slice(0, MAX_NAME);
  return { name: target === null ? named : `${named} ${target}`, attributes };
}

function linkOf({ traceId, spanId, flags }: TraceParent): SpanContext {
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true };
}
