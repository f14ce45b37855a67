// Kept beside undici: a three-hop request costs the gateway 0.19 ms of CPU instead of 0.27 (docs/decisions/subgraph-client.md).
import { connect as connectTcp, isIP, type OnReadOpts, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { bareHost } from "@toolyard/service-kit/http/hosts.ts";
import { toError } from "@toolyard/service-kit/errors/errors.ts";
import { idleFor, WireProblem } from "@toolyard/service-kit/http/wire/response-reader.ts";
import { createResponseParser, type WireResponse } from "./response-parser.ts";

/** A request on its way, until it is answered or nobody waits for the answer any more. */
export interface Exchange {
  /** The request as it is sent: its text where that is Latin-1, else its bytes. */
  readonly request: string | Buffer;
  /** Whether it changes nothing, so that it may be sent again when no answer came. */
  readonly isRepeatable: boolean;
  /** When it was sent last, in milliseconds. */
  sentAt: number;
  /** How often it was sent. */
  attempts: number;
  /** It got its answer, or nobody waits for one. */
  isSettled: boolean;
  resolve(response: WireResponse): void;
  reject(error: Error): void;
}

export interface WireConnection {
  /** The exchange that waits for its answer. */
  current(): Exchange | null;
  isConnecting(): boolean;
  /** Whether it has had a complete response. */
  hasAnswered(): boolean;
  /** Whether a part of the answer has come. */
  isWithinResponse(): boolean;
  /** When it was opened or last read from, in milliseconds. */
  lastReadAt(): number;
  /** When it is to be closed unless it is used, in milliseconds. */
  expiresAt(): number;
  /** Allowed only while no exchange waits for an answer. */
  send(exchange: Exchange): void;
  close(reason: Error): void;
}

/** The connection ended in a way that HTTP allows: between two responses, or too early for the exchange under way. */
export class WireClosed extends Error {
  override readonly name = "WireClosed";
}

export interface WireConnectionOptions {
  origin: URL;
  maxBodyBytes: number;
  /** The read buffer. Connections may share it where the system reads into it only when there is something to read. */
  readBuffer: Buffer;
  /** How long it may be idle, in milliseconds, where the server does not say less. */
  idleMs: number;
  onAnswer(connection: WireConnection, exchange: Exchange, response: WireResponse): void;
  /** It is over; the exchange that was still waiting has not been told. */
  onClose(connection: WireConnection, reason: Error, waiting: Exchange | null): void;
}

/**
 * One connection to a server of HTTP/1.1, with one request at a time. Bytes that come while nothing is asked, or behind the end of an
 * answer, end it: they would be taken for the answer to the next request.
 */
export function createWireConnection(options: WireConnectionOptions): WireConnection {
  const { origin, maxBodyBytes, idleMs, onAnswer, onClose } = options;
  let current: Exchange | null = null;
  let isConnecting = true;
  let hasAnswered = false;
  let isClosed = false;
  let readAt = performance.now();
  let expiresAt = Infinity;

  const parser = createResponseParser({
    maxBodyBytes,
    onResponse(response) {
      const exchange = current;
      if (!exchange) throw new WireProblem("answered what nobody asked");
      current = null;
      hasAnswered = true;
      // The rest of a request that is answered early would be read as the next one.
      if (socket.writableLength > 0) response.keepsAlive = false;
      expiresAt = readAt + idleFor(response.keepAliveMs, idleMs);
      onAnswer(connection, exchange, response);
      if (!response.keepsAlive) close(new WireClosed("closed the connection"));
    },
  });

  function read(buffer: Buffer, length: number): void {
    if (isClosed) return;
    readAt = performance.now();
    try {
      if (!current) throw new WireProblem("answered what nobody asked");
      parser.feed(buffer, 0, length);
      if (!current && parser.isWithinResponse()) throw new WireProblem("answered what nobody asked");
    } catch (error) {
      close(toError(error));
    }
  }

  function close(reason: Error): void {
    if (isClosed) return;
    isClosed = true;
    socket.destroy();
    const waiting = current;
    current = null;
    onClose(connection, reason, waiting);
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
      close(toError(error));
    }
    close(new WireClosed("closed the connection"));
  });
  socket.on("error", (error) => close(error));
  socket.once("close", () => close(new WireClosed("closed the connection")));

  const connection: WireConnection = {
    current: () => current,
    isConnecting: () => isConnecting,
    hasAnswered: () => hasAnswered,
    isWithinResponse: () => parser.isWithinResponse(),
    lastReadAt: () => readAt,
    expiresAt: () => expiresAt,
    send(exchange) {
      exchange.sentAt = performance.now();
      exchange.attempts += 1;
      current = exchange;
      if (typeof exchange.request === "string") socket.write(exchange.request, "latin1");
      else socket.write(exchange.request);
    },
    close,
  };
  return connection;
}

function open(origin: URL, readBuffer: Buffer, read: (buffer: Buffer, length: number) => void): Socket {
  const host = bareHost(origin.hostname);
  if (origin.protocol === "https:") {
    const socket = connectTls({
      host,
      port: Number(origin.port || 443),
      // An IP address is not a server name (RFC 6066); the certificate is then checked against `host`.
      servername: isIP(host) === 0 ? host : "",
      ALPNProtocols: ["http/1.1"],
    });
    socket.on("data", (chunk: Buffer) => read(chunk, chunk.length));
    return socket;
  }
  const onread: OnReadOpts = {
    // The parser keeps no reference to it.
    buffer: readBuffer,
    callback(length) {
      read(readBuffer, length);
      return true;
    },
  };
  return connectTcp({ host, port: Number(origin.port || 80), onread });
}
