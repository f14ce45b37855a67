/** On a request whose trace the proxy records: the bridge then keeps the span of its call of the server until the proxy fetches it. */
export const TRACE_HEADER = "x-toolyard-trace";
/** Where a bridge gives out the spans that it keeps (POST), each once. */
export const SPANS_PATH = "/spans";

/** A call of the server that has ended. */
export interface ServerSpan {
  /** Span ids: its own, and the one that came with the request. */
  spanId: string;
  parentSpanId: string;
  /** Epoch ms: when the server was sent the request, and when its answer came. */
  startedAt: number;
  endedAt: number;
  /** The class of its error: a JSON-RPC code, `tool_error` or a word of the bridge. */
  error: string | null;
}
