import {
  CloseCode,
  GRAPHQL_TRANSPORT_WS_PROTOCOL,
  MessageType,
  parseMessage,
  type JSONMessageReviver,
} from "graphql-ws";
import { clientReviver } from "../formats/exact-json.ts";
import type { SocketMessage, SocketProtocol } from "./socket-connections.ts";

/**
 * The protocol `graphql-transport-ws` (https://github.com/graphql/graphql-over-http, `PROTOCOL.md` of graphql-ws): queries, mutations
 * and subscriptions over one socket. An operation before `connection_init` closes it with 4401.
 */
export const graphqlTransportWs: SocketProtocol = {
  name: GRAPHQL_TRANSPORT_WS_PROTOCOL,
  read,
  badMessage: null,
  greetings: ['{"type":"connection_ack"}'],
  beat: null,
  turnAway: () => null,
  resultStart: (id) => `{"id":${JSON.stringify(id)},"type":"next","payload":`,
  complete: (id) => JSON.stringify({ id, type: MessageType.Complete }),
  error: (id, payload) => JSON.stringify({ id, type: MessageType.Error, payload }),
  uninitialized: { code: CloseCode.Unauthorized, reason: "Unauthorized" },
  allowsEarlyStart: false,
  replacesOperations: false,
  confirmsStop: false,
};

function read(text: string): SocketMessage {
  const message = parseMessage(text, clientReviver(text) as JSONMessageReviver | undefined);
  switch (message.type) {
    case MessageType.ConnectionInit:
      return { kind: "init", params: message.payload ?? {} };
    case MessageType.Ping:
      return { kind: "ping", answer: JSON.stringify({ type: MessageType.Pong, payload: message.payload }) };
    case MessageType.Pong:
      return { kind: "pong" };
    case MessageType.Subscribe: {
      const { query, operationName, variables } = message.payload;
      return { kind: "start", id: message.id, query, operationName, variables };
    }
    case MessageType.Complete:
      return { kind: "stop", id: message.id };
    default:
      throw new Error(`A client does not send "${message.type}".`);
  }
}
