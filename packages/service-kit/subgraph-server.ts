import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { GraphQLError, execute, parse, subscribe, validate, type DocumentNode, type ExecutionResult } from "graphql";
import { useServer } from "graphql-ws/use/ws";
import { WebSocketServer } from "ws";
import { z } from "zod";
import { anonymous, type Caller } from "./caller.ts";
import { ToolyardError, httpStatusOf, messageOf, problemDetails } from "./errors.ts";
import { newId } from "./identifiers.ts";
import type { Logger } from "./log.ts";
import { maskErrors } from "./mask-errors.ts";
import type { Subgraph } from "./subgraph.ts";
import { requestIdOf } from "./request-id.ts";
import { CALLER_HEADER } from "./tokens.ts";

const MAX_BODY_BYTES = 16 * 1024 * 1024;
const MAX_CACHED_DOCUMENTS = 1_000;

const graphqlBody = z.object({
  query: z.string(),
  operationName: z.string().nullish(),
  variables: z.record(z.string(), z.unknown()).nullish(),
});

export interface SubgraphServer {
  url: string;
  close(): Promise<void>;
}

/**
 * A subgraph over HTTP for the gateway: POST /graphql, subscriptions by graphql-transport-ws on the same path, GET /health.
 * Who calls comes in `CALLER_HEADER` (also in `connectionParams`), signed by the gateway; without it the caller is anonymous.
 */
export async function serveSubgraph(options: {
  subgraph: Subgraph;
  host: string;
  port: number;
  verifyCaller: (header: string) => Promise<Caller>;
  logger: Logger;
}): Promise<SubgraphServer> {
  const { subgraph, host, port, verifyCaller, logger } = options;
  const documents = new Map<string, DocumentNode | readonly GraphQLError[]>();

  /** Parses and validates once for each text: the gateway sends few distinct ones. */
  function documentOf(text: string): DocumentNode | readonly GraphQLError[] {
    const known = documents.get(text);
    if (known) return known;
    let document: DocumentNode | readonly GraphQLError[];
    try {
      const parsed = parse(text);
      const errors = validate(subgraph.schema, parsed);
      document = errors.length > 0 ? errors : parsed;
    } catch (error) {
      document = [error instanceof GraphQLError ? error : new GraphQLError(messageOf(error))];
    }
    if (documents.size >= MAX_CACHED_DOCUMENTS) documents.clear();
    documents.set(text, document);
    return document;
  }

  const callerOf = async (header: unknown): Promise<Caller> =>
    typeof header === "string" ? verifyCaller(header) : anonymous;

  async function answer(request: IncomingMessage, requestId: string): Promise<ExecutionResult> {
    const caller = await callerOf(request.headers[CALLER_HEADER]);
    const body = graphqlBody.safeParse(parseJson(await readBody(request)));
    if (!body.success)
      throw new ToolyardError("BAD_USER_INPUT", "The body is not a GraphQL request: send JSON with a `query`.");
    const document = documentOf(body.data.query);
    if (Array.isArray(document)) return { errors: maskErrors(document, { logger, requestId }) };
    const result = await execute({
      schema: subgraph.schema,
      // An array was answered above; what is left is the document.
      document: document as DocumentNode,
      variableValues: body.data.variables ?? {},
      operationName: body.data.operationName ?? null,
      contextValue: subgraph.createContext({ caller, requestId }),
    });
    return result.errors ? { ...result, errors: maskErrors(result.errors, { logger, requestId }) } : result;
  }

  async function health(response: ServerResponse): Promise<void> {
    const services = await subgraph.health();
    const healthy = services.every((service) => service.status !== "unhealthy");
    send(response, healthy ? 200 : 503, { status: healthy ? "healthy" : "unhealthy", services });
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const requestId = requestIdOf(request);
    const path = (request.url ?? "/").split("?", 1)[0];
    try {
      if (path === "/health" && request.method === "GET") return await health(response);
      if (path !== "/graphql")
        throw new ToolyardError("NOT_FOUND", "A subgraph answers at POST /graphql and GET /health.");
      if (request.method !== "POST") throw new ToolyardError("BAD_USER_INPUT", "Send GraphQL by POST.");
      send(response, 200, await answer(request, requestId));
    } catch (error) {
      const problem = problemDetails(error, requestId);
      if (problem.status >= 500) logger.error({ err: error, request_id: requestId }, "a request failed");
      send(
        response,
        problem.status,
        path === "/graphql"
          ? { errors: [{ message: problem.detail, extensions: { code: problem.code, requestId } }] }
          : problem,
      );
    }
  }

  const server = createServer((request, response) => void handle(request, response));
  const sockets = new WebSocketServer({ server, path: "/graphql" });
  const graphqlSockets = useServer(
    {
      onConnect: async (context) => {
        try {
          await callerOf(context.connectionParams?.[CALLER_HEADER]);
          return true;
        } catch {
          return false; // 4403: the header does not verify
        }
      },
      onSubscribe: async (context, _id, payload) => {
        const document = documentOf(payload.query);
        if (Array.isArray(document)) return document;
        const requestId = newId();
        return {
          schema: subgraph.schema,
          // As above.
          document: document as DocumentNode,
          variableValues: payload.variables ?? {},
          operationName: payload.operationName ?? null,
          contextValue: subgraph.createContext({
            caller: await callerOf(
              context.extra.request.headers[CALLER_HEADER] ?? context.connectionParams?.[CALLER_HEADER],
            ),
            requestId,
          }),
        };
      },
      execute,
      subscribe,
      onNext: (_context, _id, _payload, _args, { data, errors }) =>
        errors && {
          ...(data && { data }),
          errors: maskErrors(errors, { logger, requestId: newId() }).map((error) => error.toJSON()),
        },
      onError: (context, _id, _payload, errors) => {
        const { socket } = context.extra;
        // A gateway that went away is no failure of a resolver's: nobody is there to be told.
        if (socket.readyState !== socket.OPEN) return;
        return maskErrors(errors, { logger, requestId: newId() }).map((error) => error.toJSON());
      },
    },
    sockets,
  );
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(port, host, resolve));
  // A TCP server's address is never a pipe's string.
  const address = server.address() as AddressInfo;
  return {
    url: `http://${host.includes(":") ? `[${host}]` : host}:${address.port}/graphql`,
    async close() {
      await graphqlSockets.dispose();
      server.closeIdleConnections();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        setTimeout(() => server.closeAllConnections(), 5_000).unref();
      });
    },
  };
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    // node:http yields Buffers when no encoding is set.
    const bytes = chunk as Buffer;
    size += bytes.length;
    if (size > MAX_BODY_BYTES)
      throw new ToolyardError("PAYLOAD_TOO_LARGE", `The body is larger than ${MAX_BODY_BYTES} bytes.`);
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ToolyardError("BAD_USER_INPUT", "The body is not JSON.", { cause });
  }
}

function send(response: ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body);
  response.writeHead(status, {
    "content-type": status === httpStatusOf.NOT_FOUND ? "application/problem+json" : "application/json",
    "content-length": Buffer.byteLength(text),
  });
  response.end(text);
}
