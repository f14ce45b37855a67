import type { Duplex } from "node:stream";
import type { WebSocket } from "ws";

/** Sends the messages of one socket. What is sent to a closed one is dropped: a socket that fails is closed, and says so. */
export interface SocketWriter {
  /** @returns null, or what settles when there is room for the next message: what makes a slow client's stream wait */
  send(message: string): Promise<void> | null;
  /** Sends a message in two parts, the second of which may be the same for many sockets. */
  sendParts(begin: string, rest: Buffer): Promise<void> | null;
  /** Asks the client for a sign of life; drops the connection when it owes one for too long. */
  beat(): void;
}

export interface SocketWritersOptions {
  /** How often `beat` is called: a client that has nothing to read must have answered by then. */
  heartbeatMs: number;
  /** How long a client may take that has much to read before it comes to the ping. */
  stalledMs: number;
  now: () => number;
}

/** The writers of all sockets of a protocol. */
export interface SocketWriters {
  /** @param connection What the socket was made of */
  create(socket: WebSocket, connection: Duplex): SocketWriter;
}

/** What may wait in this process for the operating system to take it. */
const maxWaitingBytes = 65_536;
/** While more waits, nothing is read from the client: its messages would be answered into memory. */
const maxUnreadBytes = 1_048_576;
/** Smaller messages are copied into one piece. */
const maxCopiedBytes = 4_096;
const TEXT_FRAME = 0x81;

/**
 * Hands messages to the operating system together where several are sent at once: with many events, system calls are what a stream
 * costs most. The frames are written here and not by `ws`, which would copy and encode a message for each socket anew.
 */
export function createSocketWriters(options: SocketWritersOptions): SocketWriters {
  const { heartbeatMs, stalledMs, now } = options;
  /** Those that wait for the event loop to have been through what happens now. */
  let corked: Duplex[] = [];
  /** Counts how often that was. */
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
      /** When the last message was sent: what comes in the same turn waits for its end. */
      let sentIn = -1;
      let pingedAt: number | null = null;
      /** Since the last sign of life. */
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
        const isRoom = connection.writableLength < maxWaitingBytes;
        if (second) {
          connection.cork();
          connection.write(first);
        }
        let room: Promise<void> | null = null;
        if (isRoom) connection.write(second ?? first);
        else room = new Promise((resolve) => connection.write(second ?? first, () => resolve()));
        if (!isRoom && connection.writableLength > maxUnreadBytes && !socket.isPaused) {
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
          const isCopied = length + rest.length <= maxCopiedBytes;
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
          const mayTakeMs = sentBytes > maxWaitingBytes ? stalledMs : heartbeatMs * 0.9;
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
