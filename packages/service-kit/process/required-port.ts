import { connect, createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { systemCodeOf, ToolyardError } from "../errors/errors.ts";
import { whereToListen } from "./listening-socket.ts";

/** Its last holder may be about to end, such as the proxy of a Toolyard that was killed. */
const WAIT_MS = 500;
const LOOK_AGAIN_MS = 50;
const LAST_PORT = 65_535;
const FIRST_UNPRIVILEGED_PORT = 1_024;
/** Ports that are tried for one to name instead. */
const MOST_TRIED = 100;

/**
 * Checks before anything else begins whether this process can listen on its port, so that the error names the variable that sets it. One that
 * is kept for it is its own.
 * @param others Ports of the same installation: none of them is named as a way out
 * @throws ToolyardError CONFLICT when it cannot
 */
export async function requirePort(
  variable: string,
  host: string,
  port: number,
  others: readonly number[] = [],
): Promise<void> {
  if ("fd" in whereToListen({ host, port })) return;
  const deadline = performance.now() + WAIT_MS;
  for (;;) {
    const error = await tryToListen(host, port < FIRST_UNPRIVILEGED_PORT ? port : 0);
    if (error !== null && systemCodeOf(error) !== "EADDRINUSE") throw refusal(variable, host, port, error);
    // It does not listen there itself: what would connect meanwhile, such as a load balancer's request to the part that is started again, would be reset.
    if (error === null && (port === 0 || !(await isTaken(host, port)))) return;
    if (performance.now() >= deadline) {
      const free = await freePortNear(host, port, others);
      const example = free === null ? "" : `, as in ${variable}=${free}`;
      const message = `${variable}: port ${port} is in use. Stop what listens there, or choose another${example}.`;
      throw new ToolyardError("CONFLICT", message);
    }
    await delay(LOOK_AGAIN_MS);
  }
}

async function freePortNear(host: string, port: number, others: readonly number[]): Promise<number | null> {
  for (let distance = 1; distance <= MOST_TRIED; distance += 1) {
    const near = port + distance <= LAST_PORT ? port + distance : port - distance;
    if (!others.includes(near) && !(await isTaken(host, near))) return near;
  }
  return null;
}

/** Whether somebody listens there, on this machine. */
function isTaken(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: reachedAt(host), port, timeout: WAIT_MS });
    const end = (taken: boolean) => {
      socket.destroy();
      resolve(taken);
    };
    socket.once("connect", () => end(true)).once("error", () => end(false));
    // One that listens, and takes no more connections.
    socket.once("timeout", () => end(true));
  });
}

function tryToListen(host: string, port: number): Promise<Error | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", resolve);
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(null)));
  });
}

/** Where what listens on an address of this machine, or on all, is reached from it. */
function reachedAt(host: string): string {
  if (host === "0.0.0.0") return "127.0.0.1";
  return host === "::" ? "::1" : host;
}

function refusal(variable: string, host: string, port: number, cause: Error): Error {
  const message = messageFor(systemCodeOf(cause), variable, host, port);
  return message === null ? cause : new ToolyardError("CONFLICT", message, { cause });
}

function messageFor(code: string | null, variable: string, host: string, port: number): string | null {
  switch (code) {
    case "EACCES":
    case "EPERM":
      return `${variable}: this user may not listen on port ${port}. Choose one above 1023.`;
    case "EADDRNOTAVAIL":
      return `HOST: this machine has no address ${host} to listen on. Choose another.`;
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return `HOST: the host name ${host} cannot be resolved.`;
    default:
      return null;
  }
}
