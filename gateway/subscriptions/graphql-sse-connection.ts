import { randomBytes } from "node:crypto";
import { messageOf, type Caller } from "@toolyard/service-kit";
import { addressBlock } from "@toolyard/service-kit/http/hosts.ts";
import { createTypeChooser, EVENT_STREAM } from "../formats/media-types.ts";
import { EVENT_STREAM_BEAT, printEvent } from "../formats/event-stream.ts";
import {
  graphqlParamsOf,
  refuse,
  send,
  sendErrors,
  urlOf,
  type HttpExchange,
  type HttpProtocolPorts,
} from "./http-exchange.ts";
import { errorOfEnd, type OpenStreams, type StreamEnd } from "./open-streams.ts";
import { runOperation, type OperationPorts, type OperationRun } from "./operation-run.ts";
import { openResponseStream, type ResponseStream } from "./response-stream.ts";

/** How long a reserved stream waits for its connection. */
const RESERVATION_MS = 30_000;
const MAX_RESERVATIONS = 1_000;
/** For one caller; anonymous callers are told apart by address. */
const MAX_RESERVATIONS_PER_CALLER = 100;
const MAX_OPERATIONS_PER_STREAM = 100;

export interface GraphqlSseConnectionsOptions extends OperationPorts, HttpProtocolPorts {
  streams: OpenStreams;
  stalledMs: number;
}

export interface GraphqlSseConnections {
  /** Whether the request is about a stream for several operations: one that is reserved or named. */
  concerns(exchange: HttpExchange): boolean;
  handle(exchange: HttpExchange): Promise<void>;
  /** Drops reserved streams that have no connection yet; connected ones are in `streams`. */
  dropReservations(isConcerned: (caller: Caller) => boolean): void;
}

/** A reserved stream, and its connection once there is one. */
interface Connection {
  token: string;
  caller: Caller;
  operations: Map<string, OperationRun>;
  response: ResponseStream | null;
  /** Resolves when `response` is there, or never will be. */
  opened: Promise<void>;
  open(response: ResponseStream | null): void;
  expiry: NodeJS.Timeout;
}

/**
 * graphql-sse's single connection mode: PUT reserves a stream and answers its token, GET connects to it, POST runs an operation whose
 * results go to it, DELETE ends one. The token alone opens the connection, since a browser's EventSource cannot send headers; all
 * other requests take the credential of the caller who reserved it.
 */
export function createGraphqlSseConnections(options: GraphqlSseConnectionsOptions): GraphqlSseConnections {
  const { authenticate, contextOf, log, streams, stalledMs } = options;
  const connections = new Map<string, Connection>();
  const chooseType = createTypeChooser();
  const acceptsEvents = ({ request }: HttpExchange) => chooseType(request.headers.accept).eventStream;
  let reserved = 0;
  const reservedBy = new Map<string, number>();

  function reserve(exchange: HttpExchange, caller: Caller): void {
    // graphql-sse's client also sends the token of its former stream, which may still be closing: each stream gets its own.
    if (reserved >= MAX_RESERVATIONS)
      return refuse(exchange, "CAPACITY_EXHAUSTED", "Too many streams are reserved. Try again later.");
    const who = caller.subject ?? `anonymous ${addressBlock(contextOf(caller, exchange).clientAddress ?? "")}`;
    const own = reservedBy.get(who) ?? 0;
    if (own >= MAX_RESERVATIONS_PER_CALLER)
      return refuse(
        exchange,
        "RATE_LIMITED",
        `At most ${MAX_RESERVATIONS_PER_CALLER} streams may be reserved: connect to them first.`,
      );
    const token = randomBytes(32).toString("base64url");
    let open: Connection["open"] = () => undefined;
    let isReserved = true;
    const opened = new Promise<void>((resolve) => {
      open = (response) => {
        if (!isReserved) return;
        isReserved = false;
        reserved--;
        const left = (reservedBy.get(who) ?? 1) - 1;
        if (left > 0) reservedBy.set(who, left);
        else reservedBy.delete(who);
        clearTimeout(connection.expiry);
        connection.response = response;
        if (!response) connections.delete(token);
        resolve();
      };
    });
    const expiry = setTimeout(() => drop(connection), RESERVATION_MS).unref();
    const connection: Connection = { token, caller, operations: new Map(), response: null, opened, open, expiry };
    connections.set(token, connection);
    reserved++;
    reservedBy.set(who, own + 1);
    send(exchange, 201, { type: "text/plain", text: token });
  }

  /** Ends a reserved stream that never got a connection. */
  function drop(connection: Connection): void {
    if (connection.response || !connections.has(connection.token)) return;
    connection.open(null);
    for (const run of connection.operations.values()) run.stop();
  }

  async function connect(exchange: HttpExchange, connection: Connection): Promise<void> {
    const { operations, token, caller } = connection;
    if (connection.response) return refuse(exchange, "CONFLICT", "The stream is open already.");
    const response = openResponseStream(exchange, {
      headers: { "content-type": `${EVENT_STREAM}; charset=utf-8` },
      stalledMs,
    });
    const release = streams.open(caller, {
      end: (why) => end(connection, response, why),
      beat: () => response.beat(EVENT_STREAM_BEAT),
      breakOff: response.breakOff,
    });
    const onClosed = () => {
      connections.delete(token);
      const running = [...operations.values()];
      operations.clear();
      for (const run of running) run.stop();
      release();
    };
    response.closed.addEventListener("abort", onClosed, { once: true });
    const isWritten = response.write(EVENT_STREAM_BEAT);
    // At once: a second request with the same token meanwhile finds the stream taken.
    connection.open(response);
    await isWritten;
    if (response.closed.aborted) onClosed();
  }

  function end({ operations, token }: Connection, response: ResponseStream, why: StreamEnd): void {
    connections.delete(token);
    const running = [...operations];
    operations.clear();
    for (const [, run] of running) run.stop();
    const farewell = ([id]: [string, OperationRun]) =>
      nextOf(id, { errors: [errorOfEnd(why)] }) + printEvent({ event: "complete", data: JSON.stringify({ id }) });
    // Closed without `complete`, clients connect again.
    response.end(why.code === "GOING_AWAY" ? "" : running.map(farewell).join(""));
  }

  function run(exchange: HttpExchange, connection: Connection, caller: Caller): void {
    const params = graphqlParamsOf(exchange);
    if (!params) return refuse(exchange, "BAD_USER_INPUT", "This is not a GraphQL request: send JSON with a `query`.");
    const { query, operationName, variables, extensions } = params;
    const { operationId: id } = extensions;
    const { operations } = connection;
    if (typeof id !== "string" || id === "") {
      return refuse(exchange, "BAD_USER_INPUT", "Name the operation: send an `operationId` in `extensions`.");
    }
    if (operations.has(id)) return refuse(exchange, "CONFLICT", "An operation with this id runs already.");
    if (operations.size >= MAX_OPERATIONS_PER_STREAM) {
      return refuse(exchange, "RATE_LIMITED", `At most ${MAX_OPERATIONS_PER_STREAM} operations may run on one stream.`);
    }
    const started = runOperation(options, { query, operationName, variables, context: contextOf(caller, exchange) });
    if ("errors" in started) return sendErrors(exchange, 400, started.errors);
    if (started.kind === "mutation" && exchange.request.method === "GET") {
      started.stop();
      return refuse(exchange, "BAD_USER_INPUT", "Send mutations by POST.", 405);
    }
    operations.set(id, started);
    send(exchange, 202);
    void deliver(connection, id, started);
  }

  async function deliver(connection: Connection, id: string, started: OperationRun): Promise<void> {
    const { operations } = connection;
    try {
      await connection.opened;
      const { response } = connection;
      if (!response) return;
      for await (const result of started.results) {
        if (operations.get(id) !== started || !(await response.write(nextOf(id, result)))) return;
      }
    } catch (error) {
      log.error({ err: error }, `an operation failed: ${messageOf(error)}`);
      connection.response?.end();
    } finally {
      started.stop();
      if (operations.get(id) === started) {
        operations.delete(id);
        await connection.response?.write(printEvent({ event: "complete", data: JSON.stringify({ id }) }));
      }
    }
  }

  return {
    concerns: (exchange) =>
      ["PUT", "DELETE"].includes(exchange.request.method ?? "") ||
      tokenOf(exchange) !== null ||
      !acceptsEvents(exchange),
    async handle(exchange) {
      const { request } = exchange;
      if (request.method === "PUT") return reserve(exchange, await authenticate(request));
      const connection = connections.get(tokenOf(exchange) ?? "");
      if (!connection) return refuse(exchange, "NOT_FOUND", "There is no such stream. Reserve one with PUT.");
      if (request.method === "GET" && acceptsEvents(exchange)) return connect(exchange, connection);
      const caller = await authenticate(request);
      if (caller.kind !== connection.caller.kind || caller.subject !== connection.caller.subject) {
        return refuse(exchange, "FORBIDDEN", "This stream was reserved by somebody else.");
      }
      if (request.method !== "DELETE") return run(exchange, connection, caller);
      const id = urlOf(request).searchParams.get("operationId");
      if (id === null || id === "") return refuse(exchange, "BAD_USER_INPUT", "Name the operation: ?operationId=…");
      const started = connection.operations.get(id);
      connection.operations.delete(id);
      started?.stop();
      send(exchange, 200);
    },
    dropReservations(isConcerned) {
      for (const connection of connections.values()) if (isConcerned(connection.caller)) drop(connection);
    },
  };
}

/** The stream that a request is about. */
function tokenOf({ request }: HttpExchange): string | null {
  const header = request.headers["x-graphql-event-stream-token"];
  return (typeof header === "string" ? header : null) ?? urlOf(request).searchParams.get("token");
}

function nextOf(id: string, result: object): string {
  return printEvent({ event: "next", data: JSON.stringify({ id, payload: result }) });
}
