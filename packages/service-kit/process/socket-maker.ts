/** Makes the sockets of `held-sockets.ts`, which ends this process once it has them. */
import { messageOf } from "../errors/errors.ts";
import { bindSocket, handleOf, type Address } from "./listening-socket.ts";

// As `holdSockets` gives them.
const addresses = JSON.parse(process.argv[2] ?? "[]") as Address[];
try {
  // All before the first is handed over: what comes meanwhile waits at most for this process.
  const servers = await Promise.all(addresses.map(bindSocket));
  // Node hands over bare handles, as cluster's primary does; its types know servers only, which would accept at the other end.
  for (const server of servers) process.send?.("", handleOf(server) as never);
} catch (error) {
  process.send?.(messageOf(error));
}
