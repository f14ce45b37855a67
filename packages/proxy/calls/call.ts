import type { IncomingMessage, ServerResponse } from "node:http";
import type { Caller } from "@toolyard/service-kit";
import type { Dispatcher } from "undici";
import type { Outcome } from "../mcp/answer-outcome.ts";
import type { Entrance } from "../entrance.ts";
import type { CallPath } from "./call-path.ts";
import type { McpCall } from "../mcp/mcp-call.ts";
import type { RequestBody } from "./request-body.ts";
import type { RequestHead } from "./request-head.ts";
import type { Replica } from "../routing/replica.ts";
import type { Demand } from "../routing/demand.ts";
import type { DeploymentRoute, RouteGroup, ToolLoad } from "../routing/routes.ts";
import type { SessionPlace } from "../mcp/session-id.ts";
import type { CallSpan } from "../tracing/call-span.ts";

/** One call on its way. */
export interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly head: RequestHead;
  readonly path: CallPath;
  readonly entrance: Entrance;
  readonly requestId: string;
  /** W3C Trace Context, as it goes on. */
  traceparent: string;
  /** Null where the call is not recorded. */
  span: CallSpan | null;
  /** The bridge that was told that it is. */
  bridge: Replica | null;
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
  /** The replica that asked for the input that this call brings. */
  askedBy: string | null;
  /** For a message to a server that answers on a stream: the address at which the replica wants it. */
  message: SessionPlace | null;
  /** Whether it goes to its server's MCP endpoint. */
  atMcp: boolean;
  body: RequestBody;
  /** A long-lived stream by its nature: no time limit between bytes, and not counted as a concurrent call. */
  isStream: boolean;
  /** Ends such a stream with its caller's credential. */
  expiry: NodeJS.Timeout | null;
  /** The tool's load, while this call is part of it. */
  load: ToolLoad | null;
  /** The demand of its deployment, while this call is part of it. */
  demand: Demand | null;
  /** Known once the body has been looked at. */
  mcp: McpCall | null;
  /** The status that the caller got, or would have got, had the answer not broken. */
  status: number;
  /** The outcome that the answer to an MCP request states itself. */
  outcome: Outcome | null;
  /** Whether its answer was looked for in what its server offered last. */
  soughtOffer: boolean;
  /** Whether a table as new as the call has been waited for. */
  isCaughtUp: boolean;
  /** Until when it waits for a replica, by performance.now(); null: it has not had to. */
  waitsUntil: number | null;
  /**
   * The running attempt's, if there is one. The controller itself, not a closure over it: V8 puts such closures into its old space,
   * where each keeps all of its call alive until the next full collection; that was half of the proxy's CPU time and memory.
   */
  controller: Pick<Dispatcher.DispatchController, "abort"> | null;
  /** The client went away, or the call was ended from outside. */
  gone: boolean;
  /** The proxy has answered it itself. */
  refused: boolean;
  /** Its index in the list of calls under way. */
  place: number;
}
