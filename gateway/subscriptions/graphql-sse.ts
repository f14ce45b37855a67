import type { ExecutionResult } from "graphql";
import { messageOf } from "@toolyard/service-kit";
import { EVENT_STREAM, EVENT_STREAM_BEAT, printEvent } from "./event-stream.ts";
import { createGraphqlSseConnections } from "./graphql-sse-connection.ts";
import {
  acceptsOf,
  graphqlParamsOf,
  refuse,
  sendFailure,
  type HttpExchange,
  type HttpProtocolPorts,
  type OpenProtocol,
} from "./http-exchange.ts";
import { resumeAfter } from "./last-event-id.ts";
import { sequenceOf } from "./log-position.ts";
import { createOpenStreams, errorOfEnd, type StreamEnd } from "./open-streams.ts";
import { runOperation, type OperationPorts } from "./operation-run.ts";
import { openResponseStream } from "./response-stream.ts";

export interface GraphqlSseOptions extends OperationPorts, HttpProtocolPorts {
  heartbeatMs?: number;
  /** How long a client may leave unread what it was sent. */
  stalledMs?: number;
  /** How long a reserved stream waits for its connection. */
  reservationMs?: number;
  maxReservations?: number;
  maxOperationsPerStream?: number;
  now?: () => number;
}

export interface GraphqlSse extends OpenProtocol {
  /** Whether the client asks for this protocol at the endpoint of ordinary operations: by `accept: text/event-stream`. */
  accepts(exchange: HttpExchange): boolean;
  /** A request of its own path: either mode. */
  handle(exchange: HttpExchange): Promise<void>;
  /** One operation on a connection of its own. */
  handleDistinct(exchange: HttpExchange): Promise<void>;
}

/**
 * GraphQL over server-sent events (https://github.com/enisdenjo/graphql-sse, `PROTOCOL.md`), both modes, for queries, mutations and
 * subscriptions. An event's `sequence`, where the client selects it, is the event's id: a client that connects again with
 * `Last-Event-ID` goes on after it. A credential that ends is told as a result with UNAUTHENTICATED; a shutdown closes the
 * connection without `complete`, which clients take as "connect again".
 */
export function createGraphqlSse(options: GraphqlSseOptions): GraphqlSse {
  const { executor, authenticate, contextOf, log, heartbeatMs = 12_000, stalledMs = 60_000, now } = options;
  const streams = createOpenStreams({ heartbeatMs, ...(now && { now }) });
  const connections = createGraphqlSseConnections({ ...options, streams, stalledMs });

  async function runDistinct(exchange: HttpExchange): Promise<void> {
    const { request } = exchange;
    const caller = await authenticate(request);
    const params = graphqlParamsOf(exchange);
    if (!params) return refuse(exchange, 400, "This is no GraphQL request: send JSON with a `query`.");
    const { query, operationName, variables } = params;
    const lastEventId = request.headers["last-event-id"];
    const asked = { query, operationName, variables, context: contextOf(caller, exchange) };
    const inspected = executor.inspect(asked);
    const isResumed = typeof lastEventId === "string" && lastEventId !== "";
    const run = runOperation(options, isResumed ? resumeAfter(inspected, asked, lastEventId) : asked, inspected);
    if (!("errors" in run) && run.kind === "mutation" && request.method === "GET") {
      run.stop();
      exchange.headers.allow = "POST";
      return refuse(exchange, 405, "A mutation takes a POST.");
    }
    const response = openResponseStream(exchange, {
      headers: { "content-type": `${EVENT_STREAM}; charset=utf-8` },
      stalledMs,
    });
    await response.write(EVENT_STREAM_BEAT);
    if ("errors" in run) {
      // Not as a status: an EventSource would not show its user what is wrong.
      response.end(nextOf({ errors: run.errors }) + completed);
      return;
    }
    response.closed.addEventListener("abort", run.stop, { once: true });
    if (response.closed.aborted) run.stop();
    let why = null as StreamEnd | null; // set by a callback, of which narrowing would know nothing
    const release = streams.open(caller, {
      end(reason) {
        why = reason;
        run.stop();
      },
      beat: () => response.beat(EVENT_STREAM_BEAT),
      breakOff: response.breakOff,
    });
    try {
      for await (const result of run.results) {
        if (why || !(await response.write(nextOf(result)))) break;
      }
      response.end(farewell(why));
    } catch (error) {
      log.error({ err: error, request_id: exchange.requestId }, `an operation failed: ${messageOf(error)}`);
      response.end();
    } finally {
      run.stop();
      release();
    }
  }

  /** @returns a handler that answers also what goes wrong */
  const guarded = (handle: (exchange: HttpExchange) => Promise<void>) => async (exchange: HttpExchange) => {
    try {
      await handle(exchange);
    } catch (error) {
      sendFailure(exchange, error, log);
    }
  };

  return {
    get openStreams() {
      return streams.size;
    },
    accepts: ({ request }) => acceptsOf(request).includes(EVENT_STREAM),
    handleDistinct: guarded(runDistinct),
    handle: guarded((exchange) =>
      connections.concerns(exchange) ? connections.handle(exchange) : runDistinct(exchange),
    ),
    endWhere(isConcerned, message) {
      connections.dropReservations(isConcerned);
      streams.endWhere(isConcerned, message);
    },
    async close(timeoutMs = 2_000) {
      connections.dropReservations(() => true);
      await streams.close(timeoutMs);
    },
  };
}

const completed = printEvent({ event: "complete", data: "" });

function nextOf(result: ExecutionResult): string {
  return printEvent({ event: "next", data: JSON.stringify(result), id: sequenceOf(result) ?? undefined });
}

/** What a stream ends with; nothing when the client should connect again. */
function farewell(why: StreamEnd | null): string {
  if (!why) return completed;
  if (why.code === "GOING_AWAY") return "";
  return printEvent({ event: "next", data: JSON.stringify({ errors: [errorOfEnd(why)] }) }) + completed;
}
