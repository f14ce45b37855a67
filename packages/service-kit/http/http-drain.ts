import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { Server as TcpServer, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

/** How an HTTP server ends without a request that fails. */
export interface HttpDrain {
  /**
   * Takes no more connections, and closes each that there is with its next answer, so that its client opens the next one elsewhere. Returns when
   * none is left, or after half a second: clients may be sending on those that they keep.
   */
  leave(): Promise<void>;
  /** Resolves once all connections have ended: idle ones at once, those that are being answered after that, others when they had their time. */
  end(): Promise<void>;
}

/** How long the server goes on taking requests from clients that keep connections, … */
const FAREWELL_MS = 500;
/** … waits for a request of which a part has come, … */
const UNASKED_MS = 5_000;
/** … and for a client that does not read its answer. */
const UNREAD_MS = 10_000;
const LOOK_AGAIN_MS = 20;
const SWEEP_MS = 50;

/**
 * @param server Not listening yet, with its handler
 * @param draining From when on each answer closes its connection, while others are still taken: clients that drop idle connections sooner than this
 *   server leaves then have none on which they might just be sending
 */
export function createHttpDrain(server: Server, draining?: AbortSignal): HttpDrain {
  const connections = new Set<Socket>();
  /** For each connection, the response to its latest request. */
  const latest = new WeakMap<Socket, ServerResponse>();
  let isDraining = false;
  let leftAt: number | null = null;
  let closed = Promise.resolve();
  server.on("connection", (connection: Socket) => {
    connections.add(connection);
    connection.once("close", () => connections.delete(connection));
  });
  server.prependListener("request", (request: IncomingMessage, response: ServerResponse) => {
    latest.set(request.socket, response);
    if (isDraining) response.shouldKeepAlive = false;
  });

  function begin(): void {
    isDraining = true;
    for (const connection of connections) {
      const response = latest.get(connection);
      if (response && !response.headersSent) response.shouldKeepAlive = false;
    }
  }

  /** How long a connection may delay the end. */
  function patienceMs(connection: Socket): number {
    // Node does not count connections without any request as idle; browsers and pools open them in advance.
    if (connection.bytesRead === 0) return FAREWELL_MS;
    const response = latest.get(connection);
    const isAsking = !response || response.writableFinished || !response.req.complete;
    if (isAsking) return UNASKED_MS;
    return response.writableEnded ? UNREAD_MS : Infinity;
  }

  draining?.addEventListener("abort", begin, { once: true });

  async function leave(): Promise<void> {
    if (leftAt === null) {
      leftAt = performance.now();
      // Connections that wait to be accepted would be reset. First of all, since what is answered from now on makes clients open others.
      await new Promise(setImmediate);
      // An HTTP server's own `close` also ends connections that are idle now, on which a request may be on its way.
      closed = new Promise((resolve) => TcpServer.prototype.close.call(server, () => resolve()));
      begin();
    }
    while (connections.size > 0 && performance.now() - leftAt < FAREWELL_MS) await delay(LOOK_AGAIN_MS);
  }

  return {
    leave,
    async end() {
      await leave();
      const since = leftAt ?? 0;
      // A connection whose last answer is sent after this begins would otherwise stay until its client closes it.
      const sweep = (): void => {
        server.closeIdleConnections();
        for (const connection of connections)
          if (performance.now() - since > patienceMs(connection)) connection.destroy();
      };
      // After all that has come is read: a connection with a request that was not seen yet looks idle.
      const sweeping = setInterval(() => setImmediate(sweep), SWEEP_MS);
      await closed;
      clearInterval(sweeping);
      // Ends the timers of the server.
      server.close();
    },
  };
}
