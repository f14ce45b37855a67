import { connect as connectTcp, isIP, type OnReadOpts, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { createResponseParser, WireProblem, type WireResponse } from "./response-parser.ts";

/** A request on its way, until its answer is given or nobody waits for one any more. */
export interface Exchange {
  /** The request as it is sent: its text where that is Latin-1, else its bytes. */
  readonly request: string | Buffer;
  /** Whether it changes nothing, so that it may be asked again when no answer came. */
  readonly isRepeatable: boolean;
  /** Whether its like have been answered quickly: it may wait behind others on a connection, and others behind it. */
  isQuick: boolean;
  /** When it was sent last, in milliseconds. */
  sentAt: number;
  /** How often it was sent. */
  attempts: number;
  /** In how many places it waits: connections and the queue. More than one once it was asked again without an end of the first. */
  places: number;
  /** Whether it was sent behind another that was not answered yet. */
  isBehind: boolean;
  /** It got its answer, or nobody waits for one. */
  isSettled: boolean;
  /** Those that were sent together, one behind the other. */
  batch: Batch | null;
  resolve(response: WireResponse, elapsedMs: number): void;
  reject(error: Error): void;
}

export interface Batch {
  /** How many of them are still to be answered. */
  left: number;
  firstAnsweredAt: number;
}

export interface WireConnection {
  /** In the order in which they are answered. An exchange that was settled in another way keeps its place. */
  readonly waiting: Exchange[];
  isConnecting(): boolean;
  /** Whether a response has been read whole on it. */
  hasAnswered(): boolean;
  /** Whether a part of the first one's answer has come. */
  isWithinResponse(): boolean;
  /** When it was opened or last read from, in milliseconds. */
  lastReadAt(): number;
  /** When a response was last read whole, in milliseconds; before that, when it was opened. */
  lastAnsweredAt(): number;
  /** When it is to be closed unless it is used, in milliseconds. */
  expiresAt(): number;
  send(exchanges: readonly Exchange[]): void;
  close(reason: Error): void;
}

/** The connection ended as HTTP lets it: between two responses, or for what was going on it was too early. */
export class WireClosed extends Error {
  override readonly name = "WireClosed";
}

export interface WireConnectionOptions {
  origin: URL;
  maxBodyBytes: number;
  /** What is read goes through here first. Connections may share it where the system reads into it only when there is something to read. */
  readBuffer: Buffer;
  /** How long it may be idle, in milliseconds, where the server does not say less. */
  idleMs: number;
  onAnswer(connection: WireConnection, exchange: Exchange, response: WireResponse): void;
  /** It is over; those that are still waiting have not been told. */
  onClose(connection: WireConnection, reason: Error): void;
}

/** How much earlier than the server says that it closes an idle connection: a request may be on its way. Of a second it is half. */
const KEEP_ALIVE_MARGIN_MS = 1_000;

/** One connection to a server of HTTP/1.1: many requests may wait on it, and are answered in their order. */
export function createWireConnection(options: WireConnectionOptions): WireConnection {
  const { origin, maxBodyBytes, idleMs, onAnswer, onClose } = options;
  const waiting: Exchange[] = [];
  let isConnecting = true;
  let hasAnswered = false;
  let isClosed = false;
  let readAt = performance.now();
  let answeredAt = readAt;
  let expiresAt = Infinity;

  const parser = createResponseParser({
    maxBodyBytes,
    onResponse(response) {
      const exchange = waiting.shift();
      if (!exchange) throw new WireProblem("answered what nobody asked");
      hasAnswered = true;
      answeredAt = readAt;
      expiresAt = readAt + idleFor(response.keepAliveMs, idleMs);
      onAnswer(connection, exchange, response);
      if (!response.keepsAlive) close(new WireClosed("closed the connection"));
    },
  });

  function read(buffer: Buffer, length: number): void {
    if (isClosed) return;
    readAt = performance.now();
    try {
      if (waiting.length === 0) throw new WireProblem("answered what nobody asked");
      parser.feed(buffer, 0, length);
      // What has begun would be taken for the answer to whatever is asked next.
      if (waiting.length === 0 && parser.isWithinResponse()) throw new WireProblem("answered what nobody asked");
    } catch (error) {
      close(error instanceof Error ? error : new Error(String(error)));
    }
  }

  function close(reason: Error): void {
    if (isClosed) return;
    isClosed = true;
    socket.destroy();
    onClose(connection, reason);
  }

  const socket = open(origin, options.readBuffer, read);
  socket.setNoDelay(true);
  socket.once(origin.protocol === "https:" ? "secureConnect" : "connect", () => {
    isConnecting = false;
    readAt = performance.now();
  });
  socket.once("end", () => {
    if (isClosed) return;
    try {
      parser.finish();
    } catch (error) {
      close(error instanceof Error ? error : new Error(String(error)));
    }
    close(new WireClosed("closed the connection"));
  });
  socket.on("error", (error) => close(error));
  socket.once("close", () => close(new WireClosed("closed the connection")));

  const connection: WireConnection = {
    waiting,
    isConnecting: () => isConnecting,
    hasAnswered: () => hasAnswered,
    isWithinResponse: () => parser.isWithinResponse(),
    lastReadAt: () => readAt,
    lastAnsweredAt: () => answeredAt,
    expiresAt: () => expiresAt,
    send(exchanges) {
      const now = performance.now();
      for (const exchange of exchanges) {
        exchange.sentAt = now;
        exchange.attempts += 1;
        exchange.isBehind = waiting.length > 0;
        waiting.push(exchange);
      }
      write(socket, exchanges);
    },
    close,
  };
  return connection;
}

function idleFor(keepAliveMs: number | null, idleMs: number): number {
  if (keepAliveMs === null) return idleMs;
  return Math.min(idleMs, keepAliveMs - Math.min(KEEP_ALIVE_MARGIN_MS, keepAliveMs / 2));
}

/** One write for all: each costs as much as a good part of a request. */
function write(socket: Socket, exchanges: readonly Exchange[]): void {
  const [only] = exchanges;
  if (exchanges.length === 1 && only) {
    if (typeof only.request === "string") socket.write(only.request, "latin1");
    else socket.write(only.request);
    return;
  }
  let text: string | null = "";
  for (const { request } of exchanges) {
    if (typeof request === "string") text += request;
    else {
      text = null;
      break;
    }
  }
  if (text !== null) socket.write(text, "latin1");
  else
    socket.write(
      Buffer.concat(
        exchanges.map(({ request }) => (typeof request === "string" ? Buffer.from(request, "latin1") : request)),
      ),
    );
}

function open(origin: URL, readBuffer: Buffer, read: (buffer: Buffer, length: number) => void): Socket {
  // An IPv6 address is in brackets in a URL only.
  const host = origin.hostname.replace(/^\[(.*)\]$/, "$1");
  if (origin.protocol === "https:") {
    const socket = connectTls({
      host,
      port: Number(origin.port || 443),
      // An address is no server's name (RFC 6066); the certificate is held to `host` then.
      servername: isIP(host) === 0 ? host : "",
      ALPNProtocols: ["http/1.1"],
    });
    socket.on("data", (chunk: Buffer) => read(chunk, chunk.length));
    return socket;
  }
  const onread: OnReadOpts = {
    // The parser keeps nothing of it.
    buffer: readBuffer,
    callback(length) {
      read(readBuffer, length);
      return true;
    },
  };
  return connectTcp({ host, port: Number(origin.port || 80), onread });
}
