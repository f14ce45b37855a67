import { ToolyardError, nextTimeSlice } from "@toolyard/service-kit";
import { GraphQLError, type ExecutionResult } from "graphql";
import { badCredentialOf } from "../../admission/open-operations.ts";
import type { OperationGate } from "../../admission/operation-gate.ts";
import { quotaHeaders } from "../../admission/quotas.ts";
import type { HttpExchange } from "../../subscriptions/http-exchange.ts";
import type { RouteExchange } from "../direct-routes.ts";
import type { RouteContext } from "../route.ts";
import { errorOf, refused, type Refused } from "./answers.ts";
import { parseParams, type GraphqlParams } from "./params.ts";

/** A request of the graph on its way through. */
export interface GraphqlCall {
  exchange: RouteExchange;
  /** The operation, once it is known. */
  inspected: ReturnType<OperationGate["inspect"]> | null;
  /** The number of operations in a list; 0: the request is none. */
  listed: number;
  /** Its part in a protocol of streams. */
  streamed: HttpExchange | null;
}

/** Runs queries and mutations that came by HTTP, until the client goes away. */
export interface GraphqlOperations {
  /**
   * @param known The admitted operation, where it is known already: asking counts against the caller's rate
   * @throws ToolyardError
   */
  run(
    call: GraphqlCall,
    params: GraphqlParams,
    known?: ReturnType<OperationGate["inspect"]>,
  ): Promise<ExecutionResult | Refused>;
  /** Each operation of a list; errors are among the results. @throws ToolyardError when all of the list is refused */
  runList(call: GraphqlCall, bodies: readonly unknown[]): Promise<object[]>;
  /** The operation's text in the body, for protocols that know nothing of persisted operations. */
  withText(params: GraphqlParams, body: unknown): Promise<unknown>;
}

/** An administrator's request for the plan of an operation beside its result. */
const PLAN_HEADER = "x-toolyard-plan";

export function createGraphqlOperations(
  context: Pick<RouteContext, "gate" | "persisted" | "contextOf" | "config">,
): GraphqlOperations {
  const { gate, persisted, contextOf } = context;
  const { exposePlans } = context.config;
  const { maxBatch } = context.config.protection;

  async function run(
    call: GraphqlCall,
    params: GraphqlParams,
    known?: ReturnType<OperationGate["inspect"]>,
  ): Promise<ExecutionResult | Refused> {
    const { request, requestId, caller, headers, gone } = call.exchange;
    if (!caller) throw new Error("The request was not authenticated.");
    const query = await persisted.textOf(params);
    if (typeof query !== "string") return { errors: [withRequestId(query, requestId)] };
    const operationContext = contextOf(caller, request, requestId);
    if (request.headers[PLAN_HEADER] !== undefined) {
      if (!exposePlans) caller.require("user:admin");
      operationContext.wantsPlan = true;
    }
    const { operationName, variables } = params;
    if (operationContext.usage) operationContext.usage.persisted = persistenceOf(params);
    const inspected = known ?? gate.inspect({ query, operationName, context: operationContext });
    call.inspected = inspected;
    Object.assign(headers, quotaHeaders(operationContext));
    if ("errors" in inspected) {
      const badCredential = badCredentialOf(caller, inspected);
      if (badCredential) throw badCredential;
      return inspected;
    }
    if (inspected.kind !== "query" && request.method === "GET") {
      headers["allow"] = "POST";
      return refused(405, "Only queries run by GET. Send this by POST.", requestId);
    }
    if (inspected.kind === "subscription") {
      const message =
        "Subscriptions need a stream: a WebSocket, or a request that accepts text/event-stream or multipart/mixed;subscriptionSpec=1.0.";
      return refused(406, message, requestId);
    }
    return gate.execute({ query, operationName, variables, context: operationContext, signal: gone.signal });
  }

  return {
    run,
    async runList(call, bodies) {
      const { exchange } = call;
      if (bodies.length > maxBatch) {
        const what =
          maxBatch === 0
            ? "Send one operation a request: lists of operations are not allowed here"
            : `The list has ${bodies.length} operations, where at most ${maxBatch} may be`;
        throw new ToolyardError("BAD_USER_INPUT", `${what} (BATCH_LIMIT=${maxBatch}).`, {
          extensions: { limit: "batch", max: maxBatch, found: bodies.length },
        });
      }
      call.listed = bodies.length;
      if (bodies.length === 0) throw new ToolyardError("BAD_USER_INPUT", "The list of operations is empty.");
      let refusals = 0;
      const results = await Promise.all(
        bodies.map(async (body): Promise<object> => {
          try {
            await nextTimeSlice();
            const { status: _status, ...result } = { status: 0, ...(await run(call, parseParams(body))) };
            return result;
          } catch (error) {
            if (error === exchange.caller?.refusal) refusals += 1;
            return { errors: [errorOf(error, exchange.requestId)] };
          }
        }),
      );
      if (exchange.caller?.refusal && refusals === bodies.length) throw exchange.caller.refusal;
      return results;
    },
    async withText(params, body) {
      if (params.query !== null || typeof body !== "object" || body === null) return body;
      const query = await persisted.textOf(params);
      return typeof query === "string" ? { ...body, query } : body;
    },
  };
}

/** Whether the client relied on its operation being registered, or registered it. */
function persistenceOf({ query, sha256 }: GraphqlParams): "hit" | "registered" | null {
  if (query === null) return "hit";
  return sha256 === null ? null : "registered";
}

function withRequestId(error: GraphQLError, requestId: string): GraphQLError {
  return new GraphQLError(error.message, { extensions: { ...error.extensions, requestId } });
}
