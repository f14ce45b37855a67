import { Client } from "undici";

export interface Connection {
  client: Client;
  /** Requests that it has. */
  load: number;
}

/** Connections to one origin. The one used last is taken first, so those not needed grow old and close. */
export function createConnections(origin: string, maxConnections: number, options: Client.Options) {
  const all: Connection[] = [];
  const free: Connection[] = [];
  let next = 0;
  return {
    take(): Connection {
      let connection = free.pop();
      if (!connection && all.length < maxConnections) {
        connection = { client: new Client(origin, options), load: 0 };
        all.push(connection);
      }
      // All have something to do: they take turns in having a request wait.
      connection ??= all[next++ % all.length];
      if (!connection) throw new Error("There must be at least one connection.");
      connection.load++;
      return connection;
    },
    give(connection: Connection): void {
      if (--connection.load === 0) free.push(connection);
    },
    async close(): Promise<void> {
      await Promise.all(all.map(({ client }) => client.destroy()));
    },
  };
}
