import { once } from "node:events";
import { connect, createServer, type Server } from "node:net";
import { networkInterfaces } from "node:os";

/**
 * Ports of a block belong to the process that listens on the block's first one, until it ends. The blocks lie below the ports that kernels
 * give out by themselves (from 32768), so that no connection takes a port between the moment it is chosen and the moment it is used.
 */
const BLOCK_PORTS = 50;
const FIRST_PORT = 10_000;
const BLOCKS = 450;

/** Ports from `first` to `last`, which no other test on this machine uses. */
interface PortBlock {
  readonly first: number;
  readonly last: number;
}

let current: PortBlock | null = null;
let next = 0;

/** A port on which nothing listens, and which no other test is given. */
export const freePort = (): Promise<number> => freePorts(1);

/** @returns the first of so many in a row, at most 20 */
export async function freePorts(count: number): Promise<number> {
  for (;;) {
    if (current === null || next + count - 1 > current.last) {
      current = await portBlock();
      next = current.first;
    }
    const first = next;
    next += count;
    const free = await Promise.all(Array.from({ length: count }, (_, n) => isFree(first + n)));
    if (free.every(Boolean)) return first;
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = await listen(port);
  if (server === null) return false;
  server.close();
  await once(server, "close");
  return true;
}

/** Takes 49 ports in a row, for as long as this process runs. @throws Error when all blocks are taken */
export async function portBlock(): Promise<PortBlock> {
  const start = process.pid % BLOCKS;
  for (let index = 0; index < BLOCKS; index++) {
    const lock = FIRST_PORT + ((start + index) % BLOCKS) * BLOCK_PORTS;
    const server = await listen(lock);
    if (server === null) continue;
    server.unref();
    return { first: lock + 1, last: lock + BLOCK_PORTS - 1 };
  }
  throw new Error(`Other tests have taken all ports from ${FIRST_PORT} to ${FIRST_PORT + BLOCKS * BLOCK_PORTS - 1}.`);
}

/** Null where something listens there. */
async function listen(port: number): Promise<Server | null> {
  const server = createServer().listen(port, "127.0.0.1");
  try {
    await once(server, "listening");
    return server;
  } catch {
    return null;
  }
}

/** An address of this machine at which others reach it, such as containers. */
export function ownAddress(): string {
  const [address = ""] = Object.values(networkInterfaces())
    .flatMap((each) => each ?? [])
    .flatMap(({ internal, family, address: each }) => (internal || family !== "IPv4" ? [] : [each]));
  return address;
}

/** Whether anything listens there. @param at A port of 127.0.0.1, or a socket's path */
export async function canConnect(at: number | string): Promise<boolean> {
  const socket = typeof at === "number" ? connect(at, "127.0.0.1") : connect(at);
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
