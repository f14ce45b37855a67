import { fstatSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { ConfigError, type Environment } from "./config.ts";

/** Connections that may wait to be accepted; the kernel's own limit (somaxconn) is mostly this. */
const BACKLOG = 4_096;
/** The first after standard error, as systemd's socket activation has it (sd_listen_fds(3)). */
export const INHERITED_FD = 3;

export interface Address {
  host: string;
  port: number;
}

/**
 * A server that is bound and listens once this resolves: its connections are for the process that inherits its descriptor.
 * @throws Error of the system, when the address cannot be had
 */
export async function bindSocket(where: Address | { path: string }): Promise<Server> {
  const server = createServer();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject).once("listening", resolve);
  server.listen({ ...where, backlog: BACKLOG, exclusive: true });
  await promise;
  return server;
}

export function descriptorOf(server: Server): number {
  return handleOf(server).fd;
}

/** Node has no public way to a server's handle and its descriptor; `child_process` itself takes them from there for cluster workers. */
export function handleOf(server: Server): { readonly fd: number } {
  const { _handle: handle } = server as Server & { _handle?: { fd?: unknown } };
  if (typeof handle?.fd !== "number" || handle.fd < 0) throw new Error("this Node does not show a server's descriptor");
  // Its `fd` was looked at.
  return handle as { readonly fd: number };
}

/** What has a process take the socket that its supervisor keeps for it, as its descriptor after standard error. */
export const inheritsSocket = { LISTEN_FDS: "1", LISTEN_PID: "" };

/** Of this process, which has one or none. */
let inherited: number | null = null;

/**
 * Has this process listen on the socket that its supervisor or systemd keeps for it, where the environment tells of one.
 * @throws ConfigError when it was given several, or none
 */
export function inheritSocket({ LISTEN_FDS: count, LISTEN_PID: pid }: Environment): void {
  // systemd names the process that it means; those that inherit its environment are not meant.
  const isMeant = Boolean(count) && count !== "0" && (!pid || pid === String(process.pid));
  if (isMeant && count !== "1")
    throw new ConfigError(`LISTEN_FDS: a part listens on one socket, and was given ${count}.`);
  if (isMeant && !isSocket(INHERITED_FD)) throw new ConfigError(`LISTEN_FDS: descriptor ${INHERITED_FD} is no socket.`);
  inherited = isMeant ? INHERITED_FD : null;
}

function isSocket(fd: number): boolean {
  try {
    return fstatSync(fd).isSocket();
  } catch {
    return false;
  }
}

/** Where this process listens that was told to at this address. */
export function whereToListen({ host, port }: Address): Address | { fd: number } {
  return inherited === null ? { host, port } : { fd: inherited };
}
