import { createServer } from "node:net";
import { systemCodeOf } from "@toolyard/service-kit/errors/errors.ts";

/** Codes of `listen` that say "not on this port", as opposed to "not on this host at all". */
const TAKEN = new Set(["EADDRINUSE", "EACCES"]);

/**
 * Whether a server could listen on this address and port right now. The answer is old as soon as it is given: it lets
 * the allocator pass over a port that a stranger holds, the store's unique row is what reserves one.
 * @throws the system's error when the address is not one of this host's.
 */
export function isPortFree(host: string, port: number): Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<boolean>();
  const server = createServer();
  server.once("error", (error) => {
    if (TAKEN.has(systemCodeOf(error) ?? "")) resolve(false);
    else reject(error);
  });
  server.listen({ host, port, exclusive: true }, () => {
    server.close(() => resolve(true));
  });
  return promise;
}
