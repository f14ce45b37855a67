import type { Duplex } from "node:stream";
import type { WebSocket } from "ws";

/** Sends the messages of one socket. */
export interface SocketWriter {
  /**
   * Settles when there is room for the next message: what makes a slow client's stream wait. Messages of a closed socket are
   * dropped. Never rejects: a socket that fails is closed, and says so.
   */
  send(message: string): Promise<void>;
}

/** What may wait in this process for the operating system to take it. */
const maxWaitingBytes = 65_536;

/**
 * Hands messages to the operating system together where several are sent at once: with many events, system calls are what a stream
 * costs most.
 *
 * @param connection What the socket was made of
 */
export function createSocketWriter(socket: WebSocket, connection: Duplex): SocketWriter {
  let isCorked = false;

  /** Until the event loop has been through what happens now. */
  function cork(): void {
    if (isCorked) return;
    isCorked = true;
    connection.cork();
    setImmediate(() => {
      isCorked = false;
      connection.uncork();
    });
  }

  return {
    send(message) {
      if (socket.readyState !== socket.OPEN) return Promise.resolve();
      cork();
      if (connection.writableLength < maxWaitingBytes) {
        socket.send(message);
        return Promise.resolve();
      }
      return new Promise((resolve) => socket.send(message, () => resolve()));
    },
  };
}
