import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import type { GraphQLError, GraphQLFormattedError } from "graphql";
import { isPublic, problemDetails, type Caller, type ErrorCode, type Logger } from "@toolyard/service-kit";
import { z } from "zod";
import { graphqlStatusOf } from "@toolyard/service-kit/errors/error-codes.ts";
import { parseClientExactly } from "../formats/exact-json.ts";
import type { Executor } from "../execution/executor.ts";
import type { OperationContext } from "../execution/clients/subgraph-client.ts";

/** The part of a request that is kept for as long as its socket is open. */
export type RequestHead = Pick<IncomingMessage, "headers" | "socket">;

/** One HTTP request of a subscription protocol and where its answer goes, free of any framework. */
export interface HttpExchange {
  request: IncomingMessage;
  response: ServerResponse;
  /** Parsed from JSON; undefined when there is none. */
  body: unknown;
  requestId: string;
  /** Headers sent with every answer, such as CORS'. */
  headers: OutgoingHttpHeaders;
  /** The caller and the operation, once one of the handlers has found them out. */
  found?: { caller: Caller; inspected: ReturnType<Executor["inspect"]> };
}

/** The gateway's side of a protocol over HTTP. */
export interface HttpProtocolPorts {
  /** The caller. @throws ToolyardError when the credential is not valid */
  authenticate(request: IncomingMessage): Promise<Caller> | Caller;
  /** The same, but an anonymous caller where the credential is not valid. */
  identify(request: IncomingMessage): Promise<Caller> | Caller;
  /** The context that goes with every operation to the subgraphs. */
  contextOf(caller: Caller, exchange: Pick<HttpExchange, "request" | "requestId">): OperationContext;
  log: Pick<Logger, "error" | "debug">;
}

/** How the gateway counts, ends and closes the streams of a protocol. */
export interface OpenProtocol {
  /** Connections, streams and callbacks that are open. */
  readonly openStreams: number;
  /** Ends the streams of callers whose credential was revoked. */
  endWhere(isConcerned: (caller: Caller) => boolean, message: string): void;
  /** Ends everything and waits until it is closed, `timeoutMs` at most. */
  close(timeoutMs?: number): Promise<void>;
}

export interface GraphqlParams {
  query: string;
  operationName: string | null;
  variables: Record<string, unknown> | null;
  extensions: Record<string, unknown>;
}

const json = z.record(z.string(), z.unknown());
const graphqlParams = z.object({
  query: z.string(),
  operationName: z.string().nullish(),
  variables: json.nullish(),
  extensions: json.nullish(),
});

/** The operation of a request by GraphQL over HTTP: the body of a POST, the search parameters of a GET. Null when there is none. */
export function graphqlParamsOf({ request, body }: Pick<HttpExchange, "request" | "body">): GraphqlParams | null {
  const parsed = graphqlParams.safeParse(request.method === "GET" ? searchOf(request) : body);
  if (!parsed.success) return null;
  const { query, operationName = null, variables = null, extensions } = parsed.data;
  return { query, operationName, variables, extensions: extensions ?? {} };
}

function searchOf(request: IncomingMessage): Record<string, unknown> | null {
  const search = urlOf(request).searchParams;
  try {
    return Object.fromEntries(
      [...search].map(([name, value]) => [
        name,
        name === "variables" || name === "extensions" ? parseClientExactly(value) : value,
      ]),
    );
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

/** The request's URL; only its path and search mean something. */
export function urlOf(request: IncomingMessage): URL {
  return new URL(request.url ?? "/", "http://gateway.invalid");
}

/** An answer given before any stream began. */
export function send(exchange: HttpExchange, status: number, body?: { type: string; text: string }): void {
  const { response, headers } = exchange;
  response.writeHead(status, {
    ...headers,
    ...(body && { "content-type": `${body.type}; charset=utf-8`, "content-length": Buffer.byteLength(body.text) }),
    "cache-control": "no-store",
  });
  response.end(body?.text);
}

export function sendErrors(
  exchange: HttpExchange,
  status: number,
  errors: readonly (GraphQLFormattedError | GraphQLError)[],
): void {
  send(exchange, status, { type: "application/json", text: JSON.stringify({ errors }) });
}

/** A refusal with one message; `status` where HTTP has a specific one for it. */
export function refuse(
  exchange: HttpExchange,
  code: ErrorCode,
  message: string,
  status: number = graphqlStatusOf(code),
): void {
  sendErrors(exchange, status, [{ message, extensions: { code, requestId: exchange.requestId } }]);
}

/** Answers with an error; details that clients may not see are logged. */
export function sendFailure(exchange: HttpExchange, error: unknown, log: Pick<Logger, "error">): void {
  const { requestId, response } = exchange;
  if (!isPublic(error)) log.error({ err: error, request_id: requestId }, "a request failed");
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const { detail, code, retry_after_seconds: retry } = problemDetails(error, requestId);
  if (code === "UNAUTHENTICATED") exchange.headers["www-authenticate"] = 'Bearer realm="toolyard"';
  if (retry !== undefined) exchange.headers["retry-after"] = String(retry);
  refuse(exchange, code, detail, graphqlStatusOf(code, retry));
}
