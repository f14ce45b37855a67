import { fork } from "node:child_process";
import { on } from "node:events";
import { join } from "node:path";
import { ToolyardError } from "../errors/errors.ts";
import type { Address } from "./listening-socket.ts";

/**
 * Has connections to a socket of `holdSockets` end at once, instead of waiting for somebody who serves.
 * @returns a function that ends this
 */
export function refuseConnections(socket: number): () => void {
  const refuser = fork(join(import.meta.dirname, "socket-refuser.ts"), [], {
    env: {},
    execArgv: [],
    stdio: ["ignore", "ignore", "inherit", socket, "ipc"],
  });
  // Without memory for another process, they wait.
  refuser.on("error", () => undefined);
  return () => void refuser.kill("SIGKILL");
}

/**
 * Sockets that listen from now until this process ends, whose connections wait for the processes that are given their descriptors: whoever
 * listens on one may end and be started again, and its port is never free. This process accepts none, as it would if it listened on them by
 * Node's own means: another makes them, and hands them over.
 * @returns the descriptors, in the order of the addresses
 * @throws ToolyardError CONFLICT when one cannot be had
 */
export async function holdSockets(addresses: readonly Address[]): Promise<number[]> {
  const maker = fork(join(import.meta.dirname, "socket-maker.ts"), [JSON.stringify(addresses)], {
    env: {},
    execArgv: [],
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const descriptors: number[] = [];
  try {
    // As `socket-maker.ts` sends them.
    for await (const [refusal, handle] of on(maker, "message", { close: ["exit"] }) as AsyncIterable<
      [string, { fd: number } | undefined]
    >) {
      if (!handle) throw new ToolyardError("CONFLICT", refusal);
      descriptors.push(handle.fd);
      if (descriptors.length === addresses.length) return descriptors;
    }
    throw new ToolyardError("CONFLICT", "The process that makes sockets ended before it had made them.");
  } finally {
    maker.kill("SIGKILL");
  }
}
