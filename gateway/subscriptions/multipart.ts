import type { ExecutionResult } from "graphql";
import { messageOf } from "@toolyard/service-kit";
import {
  graphqlParamsOf,
  sendFailure,
  type HttpExchange,
  type HttpProtocolPorts,
  type OpenProtocol,
} from "./http-exchange.ts";
import { quotaHeaders } from "../admission/quotas.ts";
import { createOpenStreams, errorOfEnd, type StreamEnd } from "./open-streams.ts";
import { runOperation, type OperationPorts } from "./operation-run.ts";
import { openResponseStream } from "./response-stream.ts";

export interface MultipartOptions extends OperationPorts, HttpProtocolPorts {
  heartbeatMs?: number;
  /** How long a client may leave sent data unread. */
  stalledMs?: number;
  now?: () => number;
}

export interface Multipart extends OpenProtocol {
  /** Answers a subscription. @returns false, with nothing answered, for other requests: they are the ordinary handler's. */
  handle(exchange: HttpExchange): Promise<boolean>;
}

const SEPARATOR = "\r\n--graphql";
/** With the separator that follows it: clients regard a part as complete only when they see that. */
const partOf = (body: string) => `\r\ncontent-type: application/json\r\n\r\n${body}${SEPARATOR}`;

/**
 * Subscriptions by Apollo's multipart protocol over HTTP (https://www.apollographql.com/docs/graphos/routing/operations/subscriptions/multipart-protocol):
 * a POST answered by one part for each result, `{"payload": result}`, and `{}` as a heartbeat. The reason for an early end is
 * `{"payload": null, "errors": […]}`.
 */
export function createMultipart(options: MultipartOptions): Multipart {
  const { executor, identify, contextOf, log, heartbeatMs = 10_000, stalledMs = 60_000, now } = options;
  const streams = createOpenStreams({ heartbeatMs, ...(now && { now }) });

  async function stream(exchange: HttpExchange): Promise<boolean> {
    const params = graphqlParamsOf(exchange);
    if (!params || exchange.request.method !== "POST") return false;
    const caller = await identify(exchange.request);
    const { query, operationName, variables } = params;
    const asked = { query, operationName, variables, context: contextOf(caller, exchange) };
    const inspected = executor.inspect(asked);
    exchange.found = { caller, inspected };
    Object.assign(exchange.headers, quotaHeaders(asked.context));
    if ("errors" in inspected || inspected.kind !== "subscription") return false;
    const run = runOperation(options, asked, inspected);
    if ("errors" in run) return false;
    const response = openResponseStream(exchange, {
      headers: { "content-type": 'multipart/mixed;boundary="graphql";subscriptionSpec=1.0' },
      stalledMs,
    });
    response.closed.addEventListener("abort", run.stop, { once: true });
    let why = null as StreamEnd | null; // set by a callback, of which narrowing would know nothing
    const release = streams.open(caller, {
      end(reason) {
        why = reason;
        run.stop();
      },
      beat: () => response.beat(partOf("{}")),
      breakOff: response.breakOff,
    });
    try {
      // Proxies and browsers show an answer only once it has a body.
      await response.write(`${SEPARATOR}${partOf("{}")}`);
      for await (const result of run.results) {
        if (why) break;
        if (!(await response.write(partOf(bodyOf(result))))) break;
      }
    } catch (error) {
      log.error({ err: error, request_id: exchange.requestId }, `a subscription failed: ${messageOf(error)}`);
      why ??= { code: "GOING_AWAY", message: "Something went wrong here: subscribe again" };
    } finally {
      response.end(`${why ? partOf(JSON.stringify({ payload: null, errors: [errorOfEnd(why)] })) : ""}--\r\n`);
      run.stop();
      release();
    }
    return true;
  }

  return {
    get openStreams() {
      return streams.size;
    },
    async handle(exchange) {
      try {
        return await stream(exchange);
      } catch (error) {
        sendFailure(exchange, error, log);
        return true;
      }
    },
    endWhere: (isConcerned, message) => streams.endWhere(isConcerned, message),
    close: (timeoutMs = 2_000) => streams.close(timeoutMs),
  };
}

/** A result without data is the last, and is about the stream rather than an event. */
function bodyOf(result: ExecutionResult): string {
  return JSON.stringify(result.data === undefined ? { payload: null, errors: result.errors } : { payload: result });
}
