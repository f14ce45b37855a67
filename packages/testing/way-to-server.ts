import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

/** The way to a server, which can be blocked as if it went away. */
export interface WayToServer {
  /** With the port, to be used in place of the server's. */
  readonly host: string;
  /** Ends all connections, and takes none. */
  close(): Promise<void>;
  open(): Promise<void>;
  /** Takes no more connections, and leaves those that there are. */
  refuse(): void;
  /** Leaves connections open on which nothing comes any more. */
  pause(): void;
  resume(): void;
}

/** As `openWayTo`, for as long as `run` takes. */
export async function withWayTo(
  server: { host: string; port: number },
  run: (way: WayToServer) => Promise<void>,
): Promise<void> {
  const way = await openWayTo(server);
  try {
    await run(way);
  } finally {
    await way.close();
  }
}

/** A way of its own to a server, open at first. */
export async function openWayTo(server: { host: string; port: number }): Promise<WayToServer> {
  const sockets = new Set<Socket>();
  let listener: Server | null = null;
  let port = 0;
  let paused = false;
  const relay = (near: Socket) => {
    const far = connect(server);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one);
      one.on("data", (data) => other.write(data));
      one.on("error", () => other.destroy());
      one.on("close", () => {
        sockets.delete(one);
        other.destroy();
      });
      if (paused) one.pause();
    }
  };
  const open = async () => {
    listener = createServer(relay).listen(port, "127.0.0.1");
    await once(listener, "listening");
    ({ port } = listener.address() as AddressInfo);
  };
  const close = async () => {
    const closing = listener;
    listener = null;
    if (!closing) return;
    const closed = once(closing, "close");
    closing.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  await open();
  return {
    host: `127.0.0.1:${port}`,
    open,
    close,
    refuse() {
      listener?.close();
      listener = null;
    },
    pause() {
      paused = true;
      for (const socket of sockets) socket.pause();
    },
    resume() {
      paused = false;
      for (const socket of sockets) socket.resume();
    },
  };
}
