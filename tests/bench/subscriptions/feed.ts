/**
 * A subgraph that knows nothing of Toolyard: `changes` gives a log of events over graphql-transport-ws and `items` what they refer to,
 * over HTTP. Written out by hand, so that little of what is measured is its own. It also issues tokens, for a gateway that verifies.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { WebSocketServer, type WebSocket } from "ws";
import { now, type Clock, type FeedCounts } from "./messages.ts";

const ballast = "x".repeat(Number(process.argv[2] ?? 0));
/** What the gateway does not read is not sent. */
const maxBuffered = 1_048_576;

interface Stream {
  socket: WebSocket;
  id: string;
  /** The last event sent. */
  position: number;
}

let clock: Clock | null = null;
const happenedAt: number[] = [];
const streams = new Map<WebSocket, Map<string, Stream>>();
let fetches = 0;
/** Whether a stream has not been sent all that happened. */
let isAnyBehind = false;

function pump(): void {
  if (!clock) return;
  const at = now();
  const happened = Math.max(0, Math.min(clock.count, Math.floor(((at - clock.beganAt) / 1_000) * clock.rate)));
  if (happenedAt.length > happened && !isAnyBehind) return;
  while (happenedAt.length <= happened) happenedAt.push(at);
  isAnyBehind = false;
  for (const own of streams.values()) for (const stream of own.values()) feed(stream, happened);
}

function feed(stream: Stream, happened: number): void {
  const { socket, id } = stream;
  while (stream.position < happened && socket.bufferedAmount < maxBuffered) {
    const sequence = ++stream.position;
    socket.send(
      `{"id":${JSON.stringify(id)},"type":"next","payload":{"data":{"changed":{"sequence":"${sequence}","at":${happenedAt[sequence]},` +
        `"ballast":"${ballast}","item":{"__typename":"Item","id":"i${sequence}"}}}}}`,
    );
  }
  if (stream.position < happened) isAnyBehind = true;
  if (clock && stream.position >= clock.count) {
    socket.send(JSON.stringify({ id, type: "complete" }));
    streams.get(socket)?.delete(id);
  }
}

function take(socket: WebSocket, data: Buffer): void {
  // Sent by the gateway.
  const { type, id, payload } = JSON.parse(data.toString()) as {
    type: string;
    id: string;
    payload?: { variables?: { after?: string | null } };
  };
  if (type === "connection_init") socket.send('{"type":"connection_ack"}');
  else if (type === "ping") socket.send('{"type":"pong"}');
  else if (type === "complete") streams.get(socket)?.delete(id);
  else if (type === "subscribe") {
    const after = payload?.variables?.after;
    const position = after === undefined || after === null ? Math.max(0, happenedAt.length - 1) : Number(after);
    streams.get(socket)?.set(id, { socket, id, position });
    isAnyBehind = true;
  }
}

const { privateKey, publicKey } = await generateKeyPair("EdDSA");
const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: "bench", alg: "EdDSA" }] };

async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const send = (body: object) =>
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
  if (request.url === "/jwks") {
    send(jwks);
    return;
  }
  const body = await text(request);
  fetches++;
  const ids = /"representations":(\[.*?\])/.exec(body)?.[1];
  // Sent by the gateway.
  const representations = JSON.parse(ids ?? "[]") as { id: string }[];
  send({ data: { __typename: "Query", _entities: representations.map(({ id }) => ({ name: `Item ${id}` })) } });
}

const server = createServer((request, response) => void handle(request, response));
const sockets = new WebSocketServer({
  server,
  perMessageDeflate: false,
  handleProtocols: () => "graphql-transport-ws",
});
sockets.on("connection", (socket) => {
  streams.set(socket, new Map());
  socket.on("message", (data: Buffer) => take(socket, data));
  socket.on("error", () => undefined); // closed as well
  socket.on("close", () => streams.delete(socket));
});
setInterval(pump, 1);

process.on("message", (message: { begin?: Clock; tokens?: number }) => {
  void (async () => {
    if (message.begin) {
      clock = message.begin;
      happenedAt.length = 1;
      for (const own of streams.values()) for (const stream of own.values()) stream.position = 0;
      process.send?.({});
      return;
    }
    if (message.tokens !== undefined) {
      const users = Array.from({ length: message.tokens }, (_, user) => `user-${user}`);
      const sign = (user: string) =>
        new SignJWT({ sub: user })
          .setProtectedHeader({ alg: "EdDSA", kid: "bench" })
          .setExpirationTime("1h")
          .sign(privateKey);
      process.send?.({ tokens: await Promise.all(users.map(sign)) });
      return;
    }
    let open = 0;
    for (const own of streams.values()) open += own.size;
    const counts: FeedCounts = { streams: open, sockets: streams.size, fetches };
    process.send?.(counts);
  })();
});
process.on("disconnect", () => process.exit(0));
server.listen(0, "127.0.0.1", 10_000, () =>
  // `listen` on a TCP port answers an AddressInfo.
  process.send?.({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }),
);
