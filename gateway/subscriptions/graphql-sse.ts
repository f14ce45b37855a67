import type { ExecutionResult } from "graphql";
import { messageOf, type Caller } from "@toolyard/service-kit";
import { quotaHeaders } from "../admission/quotas.ts";
import type { OperationRequest } from "../execution/executor.ts";
import { EVENT_STREAM } from "../formats/media-types.ts";
import { badCredentialOf } from "../admission/open-operations.ts";
import { EVENT_STREAM_BEAT, printEvent } from "../formats/event-stream.ts";
import { createGraphqlSseConnections } from "./graphql-sse-connection.ts";
import {
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
  /** How long a client may leave sent data unread. */
  stalledMs?: number;
  now?: () => number;
}

export interface GraphqlSse extends OpenProtocol {
  /** A request of the protocol's own path, in either mode. */
  handle(exchange: HttpExchange): Promise<void>;
  /** One operation on a connection of its own. */
  handleDistinct(exchange: HttpExchange): Promise<void>;
  /** A subscription on a connection of its own. @returns false, with nothing answered, for other requests: see the ordinary handler */
  handleSubscription(exchange: HttpExchange): Promise<boolean>;
}

/**
 * GraphQL over server-sent events (https://github.com/enisdenjo/graphql-sse, `PROTOCOL.md`), both modes, for queries, mutations and
 * subscriptions. An event's `sequence`, where the client selects it, is the event's id: a client that connects again with
 * `Last-Event-ID` goes on after it. An expired credential is reported as a result with UNAUTHENTICATED; a shutdown closes the
 * connection without `complete`, which clients take as "connect again".
 */
export function createGraphqlSse(options: GraphqlSseOptions): GraphqlSse {
  const { executor, identify, contextOf, log, heartbeatMs = 12_000, stalledMs = 60_000, now } = options;
  const streams = createOpenStreams({ heartbeatMs, ...(now && { now }) });
  const connections = createGraphqlSseConnections({ ...options, streams, stalledMs });

  async function runDistinct(exchange: HttpExchange): Promise<void> {
    const { found } = exchange;
    const caller = found?.caller ?? (await identify(exchange.request));
    const asked = askedBy(exchange, caller);
    if (!asked) return refuse(exchange, "BAD_USER_INPUT", "This is not a GraphQL request: send JSON with a `query`.");
    const inspected = found?.inspected ?? executor.inspect(asked);
    exchange.found = { caller, inspected };
    Object.assign(exchange.headers, quotaHeaders(asked.context));
    const badCredential = badCredentialOf(caller, inspected);
    if (badCredential) throw badCredential;
    return run(exchange, caller, asked, inspected);
  }

  async function runSubscription(exchange: HttpExchange): Promise<boolean> {
    if (!graphqlParamsOf(exchange)) return false;
    const caller = await identify(exchange.request);
    const asked = askedBy(exchange, caller);
    if (!asked) return false;
    const inspected = executor.inspect(asked);
    exchange.found = { caller, inspected };
    Object.assign(exchange.headers, quotaHeaders(asked.context));
    if ("errors" in inspected || inspected.kind !== "subscription") return false;
    await run(exchange, caller, asked, inspected);
    return true;
  }

  function askedBy(exchange: HttpExchange, caller: Caller): OperationRequest | null {
    const params = graphqlParamsOf(exchange);
    if (!params) return null;
    const { query, operationName, variables } = params;
    return { query, operationName, variables, context: contextOf(caller, exchange) };
  }

  async function run(
    exchange: HttpExchange,
    caller: Caller,
    asked: OperationRequest,
    inspected: ReturnType<typeof executor.inspect>,
  ): Promise<void> {
    const { request } = exchange;
    const lastEventId = request.headers["last-event-id"];
    const isResumed = typeof lastEventId === "string" && lastEventId !== "";
    const started = runOperation(options, isResumed ? resumeAfter(inspected, asked, lastEventId) : asked, inspected);
    if (!("errors" in started) && started.kind === "mutation" && request.method === "GET") {
      started.stop();
      exchange.headers.allow = "POST";
      return refuse(exchange, "BAD_USER_INPUT", "Send mutations by POST.", 405);
    }
    const response = openResponseStream(exchange, {
      headers: { "content-type": `${EVENT_STREAM}; charset=utf-8` },
      stalledMs,
    });
    await response.write(EVENT_STREAM_BEAT);
    if ("errors" in started) {
      // Not as a status: an EventSource would not show its user the reason.
      response.end(nextOf({ errors: started.errors }) + completed);
      return;
    }
    response.closed.addEventListener("abort", started.stop, { once: true });
    if (response.closed.aborted) started.stop();
    let why = null as StreamEnd | null; // set by a callback, of which narrowing would know nothing
    const release = streams.open(caller, {
      end(reason) {
        why = reason;
        started.stop();
      },
      beat: () => response.beat(EVENT_STREAM_BEAT),
      breakOff: response.breakOff,
    });
    try {
      for await (const result of started.results) {
        if (why || !(await response.write(nextOf(result)))) break;
      }
      response.end(farewell(why));
    } catch (error) {
      log.error({ err: error, request_id: exchange.requestId }, `an operation failed: ${messageOf(error)}`);
      response.end();
    } finally {
      started.stop();
      release();
    }
  }

  /** @returns a handler that also answers errors */
  const guarded =
    <Outcome>(handle: (exchange: HttpExchange) => Promise<Outcome>, failed: Outcome) =>
    async (exchange: HttpExchange): Promise<Outcome> => {
      try {
        return await handle(exchange);
      } catch (error) {
        sendFailure(exchange, error, log);
        return failed;
      }
    };

  return {
    get openStreams() {
      return streams.size;
    },
    handleDistinct: guarded(runDistinct, undefined),
    handleSubscription: guarded(runSubscription, true),
    handle: guarded(
      (exchange) => (connections.concerns(exchange) ? connections.handle(exchange) : runDistinct(exchange)),
      undefined,
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

/** The last message of a stream; nothing when the client should connect again. */
function farewell(why: StreamEnd | null): string {
  if (!why) return completed;
  if (why.code === "GOING_AWAY") return "";
  return printEvent({ event: "next", data: JSON.stringify({ errors: [errorOfEnd(why)] }) }) + completed;
}
