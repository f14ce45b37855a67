import type { IncomingMessage, ServerResponse } from "node:http";
import type { Caller } from "@toolyard/service-kit";
import type { Dispatcher } from "undici";
import type { Outcome } from "../mcp/answer-outcome.ts";
import type { CallPath } from "./call-path.ts";
import type { McpCall } from "../mcp/mcp-call.ts";
import type { RequestBody } from "./request-body.ts";
import type { RequestHead } from "./request-head.ts";
import type { DeploymentRoute, RouteGroup, ToolLoad } from "../routing/routes.ts";
import type { SessionPlace } from "../mcp/session-id.ts";

/** One call on its way. */
export interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly head: RequestHead;
  readonly path: CallPath;
  readonly requestId: string;
  /** W3C Trace Context. */
  readonly traceparent: string;
  /** Name, value…: CORS. */
  readonly corsHeaders: readonly string[];
  readonly startedAt: number;
  readonly startedMs: number;
  caller: Caller | null;
  group: RouteGroup | null;
  deployment: DeploymentRoute | null;
  /** Where it was sent last. */
  replicaId: string | null;
  session: SessionPlace | null;
  /** The one that asked for the input that this call brings. */
  askedBy: string | null;
  /** Of a message to a server that answers on a stream of its replica: where that wants it. */
  message: SessionPlace | null;
  /** Whether it is one of its server's MCP endpoint. */
  atMcp: boolean;
  body: RequestBody;
  /** A stream that stands open by its nature: no time limit between bytes, no share of the concurrent calls. */
  standing: boolean;
  /** Ends such a stream with its caller's credential. */
  expiry: NodeJS.Timeout | null;
  /** The tool's load, while this call is part of it. */
  load: ToolLoad | null;
  /** Known once the body has been looked at. */
  mcp: McpCall | null;
  /** What the caller got, or would have, had the answer not broken. */
  status: number;
  /** What the answer says of itself, of an MCP request. */
  outcome: Outcome | null;
  /** Until when it waits for a replica, by performance.now(); null: it has not had to. */
  waitsUntil: number | null;
  /**
   * Of the attempt that runs, if one does. The controller itself, not a closure over it: V8 puts such closures into its old space,
   * where each keeps all of its call alive until the next full collection; that was half of the proxy's CPU time and memory.
   */
  controller: Pick<Dispatcher.DispatchController, "abort"> | null;
  /** The client went away, or the call was ended from outside. */
  gone: boolean;
  /** The proxy has answered it itself. */
  refused: boolean;
  /** Where the list of calls under way has it. */
  place: number;
}
