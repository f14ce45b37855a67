import { renameSync, rmSync } from "node:fs";
import { systemCodeOf, ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import { isLoopback } from "@toolyard/service-kit/http/hosts.ts";
import { bindSocket, descriptorOf } from "@toolyard/service-kit/process/listening-socket.ts";
import { withShortPath } from "@toolyard/service-kit/process/presence.mjs";
import { httpUrl } from "../endpoint/http-url.ts";
import { unixUrl } from "../endpoint/socket-path.ts";
import type { ReplicaSpec } from "../runtime.ts";
import type { ReplicaPaths } from "./replica-records.ts";

/**
 * The socket of a bridge. It is bound and listens before the bridge's process exists, so that nobody else can take its address, and the
 * bridge inherits it, so that it outlives this process.
 */
export interface ListeningSocket extends Disposable {
  url: string;
  fd: number;
}

/**
 * A socket in the replica's own folder, which replicas do not see under bubblewrap; or the port that was reserved, where
 * replicas are reached from other hosts.
 * @throws ToolyardError UPSTREAM_UNAVAILABLE when it cannot be had, as when a stranger has the port.
 */
export async function listenForBridge(
  spec: Pick<ReplicaSpec, "host" | "port">,
  paths: Pick<ReplicaPaths, "socket">,
): Promise<ListeningSocket> {
  const { host, port } = spec;
  let dispose = (): void => undefined;
  try {
    if (port === null) {
      // Closing a server unlinks the path that it was bound to, so the socket gets another name.
      const draft = `${paths.socket}.new`;
      // Of a start that was cut short by the end of its process.
      rmSync(draft, { force: true });
      const server = await withShortPath(draft, (path) => bindSocket({ path }));
      dispose = () => void server.close();
      renameSync(draft, paths.socket);
      return { url: unixUrl(paths.socket), fd: descriptorOf(server), [Symbol.dispose]: dispose };
    }
    const server = await bindSocket({ host, port });
    dispose = () => void server.close();
    return { url: httpUrl(host, port), fd: descriptorOf(server), [Symbol.dispose]: dispose };
  } catch (cause) {
    dispose();
    const code = systemCodeOf(cause) ?? "unknown";
    // Node's own message names the port or the path, which are not for everybody who reads this.
    const message =
      code === "EADDRINUSE" ? "Its port was taken by another process." : `Its socket cannot be made (${code}).`;
    throw new ToolyardError("UPSTREAM_UNAVAILABLE", message, { cause });
  }
}

export function needsPort(host: string): boolean {
  return host !== "localhost" && !isLoopback(host);
}
