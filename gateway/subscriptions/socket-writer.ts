import type { Duplex } from "node:stream";
import type { WebSocket } from "ws";

/** Sends the messages of one socket. Messages to a closed one are dropped: a socket that fails is closed, and reports it. */
export interface SocketWriter {
  /** @returns null, or a promise that settles when there is room for the next message; awaiting it is back-pressure */
  send(message: string): Promise<void> | null;
  /** Sends a message in two parts, the second of which many sockets may share. */
  sendParts(begin: string, rest: Buffer): Promise<void> | null;
  /** Sends a ping; drops the connection when an answer is overdue. */
  beat(): void;
}

export interface SocketWritersOptions {
  /** How often `beat` is called: a client with nothing to read must have answered by then. */
  heartbeatMs: number;
  /** How long a client with much to read may take to reach the ping. */
  stalledMs: number;
  now: () => number;
}

/** The writers of all sockets of a protocol. */
export interface SocketWriters {
  /** @param connection The options that the socket was created with */
  create(socket: WebSocket, connection: Duplex): SocketWriter;
}

/** How many bytes may wait in this process for the operating system to take them. */
const MAX_WAITING_BYTES = 65_536;
/** While more waits, nothing is read from the client: answers to its messages would only fill memory. */
const MAX_UNREAD_BYTES = 1_048_576;
/** Smaller messages are copied into one piece. */
const MAX_COPIED_BYTES = 4_096;
const TEXT_FRAME = 0x81;

/**
 * Hands messages to the operating system together where several are sent at once: with many events, system calls are the largest
 * cost of a stream. The frames are written here and not by `ws`, which would copy and encode a message for each socket anew.
 */
export function createSocketWriters(options: SocketWritersOptions): SocketWriters {
  const { heartbeatMs, stalledMs, now } = options;
  /** Sockets corked until the end of this turn of the event loop. */
  let corked: Duplex[] = [];
  /** Counts those turns. */
  let turn = 0;
  let isTurnEnding = false;

  function endTurn(): void {
    isTurnEnding = false;
    turn++;
    const all = corked;
    corked = [];
    for (const connection of all) connection.uncork();
  }

  return {
    create(socket, connection) {
      /** The turn in which the last message was sent: further ones of the same turn wait for its end. */
      let sentIn = -1;
      let pingedAt: number | null = null;
      /** Sent since the last pong. */
      let sentBytes = 0;

      socket.on("pong", () => {
        pingedAt = null;
        sentBytes = 0;
      });

      function write(first: Buffer, second: Buffer | null): Promise<void> | null {
        if (!isTurnEnding) {
          isTurnEnding = true;
          setImmediate(endTurn);
        }
        if (sentIn === turn && connection.writableCorked === 0) {
          connection.cork();
          corked.push(connection);
        }
        sentIn = turn;
        sentBytes += first.length + (second?.length ?? 0);
        const isRoom = connection.writableLength < MAX_WAITING_BYTES;
        if (second) {
          connection.cork();
          connection.write(first);
        }
        let room: Promise<void> | null = null;
        if (isRoom) connection.write(second ?? first);
        else room = new Promise((resolve) => connection.write(second ?? first, () => resolve()));
        if (!isRoom && connection.writableLength > MAX_UNREAD_BYTES && !socket.isPaused) {
          socket.pause();
          connection.once("drain", () => socket.resume());
        }
        if (second) connection.uncork();
        return room;
      }

      return {
        send(message) {
          if (socket.readyState !== socket.OPEN) return null;
          const length = Buffer.byteLength(message);
          const [frame, offset] = frameOf(length, length);
          frame.write(message, offset);
          return write(frame, null);
        },
        sendParts(begin, rest) {
          if (socket.readyState !== socket.OPEN) return null;
          const length = Buffer.byteLength(begin);
          const isCopied = length + rest.length <= MAX_COPIED_BYTES;
          const [frame, offset] = frameOf(length + rest.length, isCopied ? length + rest.length : length);
          frame.write(begin, offset);
          if (isCopied) rest.copy(frame, offset + length);
          return write(frame, isCopied ? null : rest);
        },
        beat() {
          if (pingedAt === null) {
            pingedAt = now();
            if (socket.readyState === socket.OPEN) socket.ping();
            return;
          }
          // A little less than a heartbeat: the next turn may come early.
          const mayTakeMs = sentBytes > MAX_WAITING_BYTES ? stalledMs : heartbeatMs * 0.9;
          if (now() - pingedAt >= mayTakeMs) socket.terminate();
        },
      };
    },
  };
}

/** A text frame (RFC 6455, section 5.2), unmasked as a server's are, with room for so much of its content; and where that begins. */
function frameOf(contentLength: number, room: number): [frame: Buffer, offset: number] {
  const offset = contentLength < 126 ? 2 : contentLength < 65_536 ? 4 : 10;
  const frame = Buffer.allocUnsafe(offset + room);
  frame[0] = TEXT_FRAME;
  if (offset === 2) frame[1] = contentLength;
  else if (offset === 4) {
    frame[1] = 126;
    frame.writeUInt16BE(contentLength, 2);
  } else {
    frame[1] = 127;
    frame.writeUInt32BE(Math.floor(contentLength / 2 ** 32), 2);
    frame.writeUInt32BE(contentLength % 2 ** 32, 6);
  }
  return [frame, offset];
}

/** A close frame has room for 123 bytes of reason (RFC 6455, section 5.5). */
export function closeReason(message: string): string {
  let reason = message;
  while (Buffer.byteLength(reason) > 123) reason = reason.slice(0, -1);
  return reason;
}
