import { CloseCode, DEPRECATED_GRAPHQL_WS_PROTOCOL } from "graphql-ws";
import { z } from "zod";
import { parseClientExactly } from "../formats/exact-json.ts";
import type { SocketMessage, SocketProtocol } from "./socket-connections.ts";

const payload = z.record(z.string(), z.unknown()).nullish();
const clientMessage = z.discriminatedUnion("type", [
  z.object({ type: z.literal("connection_init"), payload }),
  z.object({ type: z.literal("connection_terminate") }),
  z.object({
    type: z.literal("start"),
    id: z.coerce.string(),
    payload: z.object({ query: z.string(), operationName: z.string().nullish(), variables: payload }),
  }),
  z.object({ type: z.literal("stop"), id: z.coerce.string() }),
]);

const KEEP_ALIVE = '{"type":"ka"}';

/**
 * The protocol of subscriptions-transport-ws (https://github.com/apollographql/subscriptions-transport-ws, `PROTOCOL.md`), which
 * older clients of Apollo speak. A refused caller is sent `connection_error`, and then the socket is closed.
 */
export const subscriptionsTransportWs: SocketProtocol = {
  name: DEPRECATED_GRAPHQL_WS_PROTOCOL,
  read,
  badMessage: JSON.stringify({
    type: "connection_error",
    payload: { message: "This is not a message of the protocol." },
  }),
  greetings: ['{"type":"connection_ack"}', KEEP_ALIVE],
  beat: KEEP_ALIVE,
  turnAway: ({ message, code }) =>
    JSON.stringify({
      type: "connection_error",
      payload: { message, ...(code !== undefined && { extensions: { code } }) },
    }),
  resultStart: (id) => `{"type":"data","id":${JSON.stringify(id)},"payload":`,
  complete: (id) => JSON.stringify({ type: "complete", id }),
  /** The payload is one error; clients that can read several find them in `errors`. */
  error(id, errors) {
    const formatted = errors.map((error) => ("toJSON" in error ? error.toJSON() : error));
    return JSON.stringify({ type: "error", id, payload: { ...formatted[0], errors: formatted } });
  },
  uninitialized: { code: CloseCode.BadRequest, reason: "Send connection_init first" },
  allowsEarlyStart: true,
  // The protocol says nothing of an id used twice; its own server ends the older operation.
  replacesOperations: true,
  confirmsStop: true,
};

function read(text: string): SocketMessage {
  const message = clientMessage.parse(parseClientExactly(text));
  switch (message.type) {
    case "connection_init":
      return { kind: "init", params: message.payload ?? {} };
    case "connection_terminate":
      return { kind: "leave" };
    case "start": {
      const { query, operationName, variables } = message.payload;
      return { kind: "start", id: message.id, query, operationName, variables };
    }
    case "stop":
      return { kind: "stop", id: message.id };
  }
}
