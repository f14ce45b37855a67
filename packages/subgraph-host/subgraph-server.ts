import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import {
  GraphQLError,
  createSourceEventStream,
  execute,
  parse,
  validate,
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  type FormattedExecutionResult,
} from "graphql";
import { useServer } from "graphql-ws/use/ws";
import { WebSocketServer } from "ws";
import { z } from "zod";
import { anonymous } from "@toolyard/service-kit/identity/caller.ts";
import { createCrossSitePolicy } from "@toolyard/service-kit/http/cross-site.ts";
import { graphqlStatusOf } from "@toolyard/service-kit/errors/error-codes.ts";
import { createDocumentStore } from "./apollo-document-store.ts";
import { ToolyardError, messageOf, problemDetails } from "@toolyard/service-kit/errors/errors.ts";
import { createHttpDrain } from "@toolyard/service-kit/http/http-drain.ts";
import { createHostPolicy } from "@toolyard/service-kit/http/hosts.ts";
import { newId } from "@toolyard/service-kit/identifiers.ts";
import type { Logger } from "@toolyard/service-kit/process/log.ts";
import { maskErrors } from "@toolyard/service-kit/errors/mask-errors.ts";
import type { RequestContext, Subgraph } from "@toolyard/service-kit/graph/subgraph.ts";
import { createPartStatus, listenOn, send } from "./part-status.ts";
import { createSubgraphOperations } from "./subgraph-operations.ts";
import { ambiguityOf } from "@toolyard/service-kit/http/request-ambiguity.ts";
import { discardBody, isEncoded, isJson, parseClientJson } from "@toolyard/service-kit/http/request-body.ts";
import { readBody } from "@toolyard/service-kit/http/read-body.ts";
import { requestIdOf } from "@toolyard/service-kit/http/request-id.ts";
import { CALLER_HEADER, type SignedCaller } from "@toolyard/service-kit/identity/tokens.ts";
import { SOCKET_BOUNDS } from "@toolyard/service-kit/http/socket-bounds.ts";

/** Of the gateway, which has bounded what clients send: 25 MiB of a webhook's delivery, in base64. */
const MAX_BODY_BYTES = 36 * 1024 * 1024;
/** Longer than gateways and load balancers keep idle connections, so that they close them, rather than this server while they send. */
const KEEP_ALIVE_MS = 75_000;
/** For requests that run when the server ends. */
const LAST_ANSWERS_MS = 5_000;
const MAX_MESSAGE_BYTES = 1024 * 1024;
/** For callers who bypass the gateway: enough to log in, and to compose a supergraph. */
const STRANGERS = { maxBodyBytes: 64 * 1024, maxTokens: 1_000, maxRunning: 16 };

const graphqlBody = z.object({
  query: z.string(),
  operationName: z.string().nullish(),
  variables: z.record(z.string(), z.unknown()).nullish(),
});

export interface SubgraphServer {
  url: string;
  close(): Promise<void>;
}

/** Who sent a request. */
interface Sender extends SignedCaller {
  /** Whether the gateway vouches for the caller; else it is anybody who reaches this port. */
  isSigned: boolean;
}

/**
 * A subgraph over HTTP for the gateway: POST /graphql, subscriptions by graphql-transport-ws on the same path, GET /health, /health/live, /health/ready and /metrics.
 * The caller comes in `CALLER_HEADER`, signed by the gateway for this subgraph. Without it the caller is anonymous: pages of other sites
 * and large or expensive documents, which the gateway else refuses, are refused here, and there are no subscriptions.
 */
export async function serveSubgraph(options: {
  subgraph: Subgraph;
  host: string;
  port: number;
  /** Names under which strangers may address it, beside loopback names and `host`. */
  allowedHosts?: readonly string[];
  verifyCaller: (header: string) => Promise<SignedCaller>;
  /** The bearer token for /metrics; null: only the gateway may read it. */
  metricsToken?: string | null;
  /** Aborts when no more requests are to be sent here. */
  draining?: AbortSignal;
  logger: Logger;
}): Promise<SubgraphServer> {
  const { subgraph, host, port, allowedHosts = [], verifyCaller, metricsToken = null, logger } = options;
  const { draining = new AbortController().signal } = options;
  const crossSite = createCrossSitePolicy(createHostPolicy({ listenHost: host, origins: [], hosts: allowedHosts }));
  const operations = {
    ofGateway: await createSubgraphOperations({ subgraph, forStrangers: null, logger }),
    ofStrangers: await createSubgraphOperations({ subgraph, forStrangers: { maxTokens: STRANGERS.maxTokens }, logger }),
  };
  const subscriptions = createDocumentStore();
  let strangersRunning = 0;

  /** Of a subscription, or what is wrong with it. */
  async function documentOf(text: string): Promise<DocumentNode | readonly GraphQLError[]> {
    const known = await subscriptions.get(text);
    if (known) return known;
    try {
      const document = parse(text);
      const errors = validate(subgraph.schema, document);
      if (errors.length > 0) return errors;
      await subscriptions.set(text, document);
      return document;
    } catch (error) {
      return [error instanceof GraphQLError ? error : new GraphQLError(messageOf(error))];
    }
  }

  async function senderOf(request: IncomingMessage): Promise<Sender> {
    const header = request.headers[CALLER_HEADER];
    if (typeof header === "string") return { ...(await verifyCaller(header)), isSigned: true };
    // Nothing was signed that could be sent again with another operation.
    return { caller: anonymous, clientAddress: request.socket.remoteAddress, isMutation: true, isSigned: false };
  }

  async function answer(request: IncomingMessage, requestId: string): Promise<FormattedExecutionResult> {
    const sender = await senderOf(request);
    if (sender.isSigned) return run(request, requestId, sender);
    crossSite.check(request);
    if (strangersRunning >= STRANGERS.maxRunning) {
      const message = "Too many requests reach this subgraph without the gateway. Ask the gateway, or try again.";
      throw new ToolyardError("RATE_LIMITED", message, { retryAfterSeconds: 1 });
    }
    strangersRunning += 1;
    try {
      return await run(request, requestId, sender);
    } finally {
      strangersRunning -= 1;
    }
  }

  async function run(request: IncomingMessage, requestId: string, sender: Sender): Promise<FormattedExecutionResult> {
    const { isSigned } = sender;
    const text = await readBody(request, isSigned ? MAX_BODY_BYTES : STRANGERS.maxBodyBytes);
    const body = graphqlBody.safeParse(parseClientJson(text, "The body"));
    if (!body.success)
      throw new ToolyardError("BAD_USER_INPUT", "The body is not a GraphQL request: send JSON with a `query`.");
    const { query, variables, operationName } = body.data;
    const wantedTrace = request.headers["apollo-federation-include-trace"];
    return operations[isSigned ? "ofGateway" : "ofStrangers"].execute({
      ...sender,
      request: { query, variables: variables ?? {}, ...(operationName && { operationName }) },
      requestId,
      ...(typeof wantedTrace === "string" && { wantedTrace }),
      isAwaited: () => !request.socket.readableEnded && !request.socket.destroyed,
    });
  }

  const status = createPartStatus({
    health: () => subgraph.health(),
    gauges: async () => (await subgraph.gauges?.()) ?? [],
    metricsToken,
    draining,
  });

  /** To the gateway only the subgraph's own counts, which it shows among its metrics. */
  async function sendMetrics(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { caller, isSigned } = await senderOf(request);
    if (isSigned) {
      caller.require("internal:metrics");
      return send(response, 200, (await subgraph.gauges?.()) ?? []);
    }
    crossSite.check(request);
    await status.sendMetrics(request, response);
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const requestId = requestIdOf(request);
    const path = (request.url ?? "/").split("?", 1)[0];
    const sendErrors = (status: number, message: string, code: string = "BAD_USER_INPUT") =>
      send(response, status, { errors: [{ message, extensions: { code, requestId } }] });
    try {
      if (path === "/health" && request.method === "GET") return await status.sendHealth(response);
      if (path === "/health/live" && request.method === "GET") return status.sendLiveness(response);
      if (path === "/health/ready" && request.method === "GET") return await status.sendReadiness(response);
      if (path === "/metrics" && request.method === "GET") return await sendMetrics(request, response);
      if (path !== "/graphql")
        throw new ToolyardError(
          "NOT_FOUND",
          "A subgraph answers at POST /graphql, GET /health, GET /health/live, GET /health/ready and GET /metrics.",
        );
      if (request.method !== "POST") throw new ToolyardError("BAD_USER_INPUT", "Send GraphQL by POST.");
      const ambiguity = ambiguityOf(request.rawHeaders);
      if (ambiguity !== null) return sendErrors(400, `The request is ambiguous: ${ambiguity}.`);
      // Requests that a page of another site can send without a preflight are never JSON.
      if (!isJson(request.headers["content-type"]) || isEncoded(request))
        return sendErrors(415, "Send the body as application/json, without Content-Encoding.");
      send(response, 200, await answer(request, requestId));
    } catch (error) {
      const problem = problemDetails(error, requestId);
      // Clocks that differ, and a database that is away, have lines of their own.
      if (problem.status >= 500 && problem.code !== "UPSTREAM_UNAVAILABLE")
        logger.error({ err: error, request_id: requestId }, "a request failed");
      if (problem.code === "PAYLOAD_TOO_LARGE") await discardBody(request, STRANGERS.maxBodyBytes);
      if (path === "/graphql")
        sendErrors(graphqlStatusOf(problem.code, problem.retry_after_seconds), problem.detail, problem.code);
      else send(response, problem.status, problem, "application/problem+json");
    }
  }

  /** A stream is for the gateway alone: a stranger has nothing to subscribe to. */
  async function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const refuse = (status: string) =>
      socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
    socket.on("error", () => socket.destroy());
    if ((request.url ?? "/").split("?", 1)[0] !== "/graphql") return void refuse("404 Not Found");
    if (ambiguityOf(request.rawHeaders) !== null) return void refuse("400 Bad Request");
    try {
      if (!(await senderOf(request)).isSigned) return void refuse("401 Unauthorized");
    } catch (error) {
      logger.debug({ reason: messageOf(error) }, "a socket's caller header does not verify");
      const isUnjudged = error instanceof ToolyardError && error.code === "UPSTREAM_UNAVAILABLE";
      return void refuse(isUnjudged ? "503 Service Unavailable" : "401 Unauthorized");
    }
    sockets.handleUpgrade(request, socket, head, (opened) => sockets.emit("connection", opened, request));
  }

  const withContext = (args: ExecutionArgs): ExecutionArgs => ({
    ...args,
    // As `onSubscribe` gives it.
    contextValue: subgraph.createContext(args.contextValue as RequestContext),
  });
  const server = createServer(
    { keepAliveTimeout: KEEP_ALIVE_MS },
    (request, response) => void handle(request, response),
  );
  const drain = createHttpDrain(server, draining);
  const sockets = new WebSocketServer({ noServer: true, ...SOCKET_BOUNDS, maxPayload: MAX_MESSAGE_BYTES });
  server.on("upgrade", (request, socket, head) => void upgrade(request, socket, head));
  const graphqlSockets = useServer(
    {
      onSubscribe: async (context, _id, payload) => {
        const document = await documentOf(payload.query);
        if (!("kind" in document)) return document;
        const { caller, clientAddress } = await senderOf(context.extra.request);
        return {
          schema: subgraph.schema,
          document,
          variableValues: payload.variables ?? {},
          operationName: payload.operationName ?? null,
          contextValue: { caller, requestId: newId(), clientAddress },
        };
      },
      execute: (args) => execute(withContext(args)),
      subscribe: (args) => subscribeTo(args, withContext),
      onNext: (_context, _id, _payload, _args, { data, errors }) =>
        errors && {
          ...(data && { data }),
          errors: maskErrors(errors, { logger, requestId: newId() }).map((error) => error.toJSON()),
        },
      onError: (context, _id, _payload, errors) => {
        const { socket } = context.extra;
        // A gateway that went away is not a resolver's failure, and nobody is left to be told.
        if (socket.readyState !== socket.OPEN) return;
        return maskErrors(errors, { logger, requestId: newId() }).map((error) => error.toJSON());
      },
    },
    sockets,
  );
  return {
    url: `${await listenOn(server, host, port)}/graphql`,
    async close() {
      // Begun first: who has lost a stream here is to open it elsewhere.
      const left = drain.leave();
      await graphqlSockets.dispose();
      await left;
      const cutOff = setTimeout(() => server.closeAllConnections(), LAST_ANSWERS_MS);
      await drain.end();
      clearTimeout(cutOff);
      for (const operation of Object.values(operations)) await operation.close();
    },
  };
}

/** As graphql-js's `subscribe`, with a context of its own for each event: what its loaders remember may have changed since. */
async function subscribeTo(
  args: ExecutionArgs,
  withContext: (args: ExecutionArgs) => ExecutionArgs,
): Promise<AsyncIterableIterator<ExecutionResult> | ExecutionResult> {
  const source = await createSourceEventStream(withContext(args));
  if (!(Symbol.asyncIterator in source)) return source;
  const events = source[Symbol.asyncIterator]();
  const answers: AsyncIterableIterator<ExecutionResult> = {
    async next() {
      const step = await events.next();
      if (step.done) return { done: true, value: undefined };
      return { done: false, value: await execute(withContext({ ...args, rootValue: step.value })) };
    },
    async return() {
      await events.return?.();
      return { done: true, value: undefined };
    },
    [Symbol.asyncIterator]: () => answers,
  };
  return answers;
}
