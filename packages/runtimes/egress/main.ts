/**
 * Of a replica that may reach some hosts only: the processes that connect it with the world. It is in a network of its own, in which there is
 * nothing but `inside`; `outside` has the forward proxy, and takes calls for the replica. Between them are Unix sockets in a folder that the replica
 * does not see. Where the network itself lets it reach nothing but a forward proxy, that is `alone`.
 */
import { once } from "node:events";
import { rmSync } from "node:fs";
import { connect, type Server } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { createEgressList } from "@toolyard/launch/egress-list.ts";
import { createForwardProxy } from "./forward-proxy.ts";
import { createRefusalReports } from "./refusal-reports.ts";
import { createRelay } from "./relay.ts";

const LOOK_MS = 20;
/** Of each listener: what a container's memory has room for. Those beyond are closed at once. */
const MAX_CONNECTIONS = 1_024;

const {
  positionals: [side],
  values: { folder, proxy, server, allow },
} = parseArgs({
  allowPositionals: true,
  options: {
    folder: { type: "string", default: "/run/toolyard" },
    /** The port of the forward proxy, as the replica sees it. */
    proxy: { type: "string", default: "3128" },
    /** The port of the replica's server. */
    server: { type: "string", default: "8080" },
    allow: { type: "string", multiple: true, default: [] },
  },
});
const outward = join(folder, "outward.sock");
const inward = join(folder, "inward.sock");
const tell = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

if (side === "inside") {
  await listen(createRelay({ path: outward }), { host: "127.0.0.1", port: Number(proxy) });
  await listen(createRelay({ host: "127.0.0.1", port: Number(server) }), { path: inward });
} else if (side === "outside") {
  await listen(forwardProxy(), { path: outward });
  await listen(createRelay({ path: inward }), { host: "0.0.0.0", port: Number(server) });
  while (!(await answers(inward))) await delay(LOOK_MS);
  tell({ ready: true });
} else if (side === "alone") {
  await listen(forwardProxy(), { port: Number(proxy) });
} else throw new Error("Say which side it is: inside, outside or alone.");

function forwardProxy(): Server {
  return createForwardProxy({ list: createEgressList(allow), onRefused: createRefusalReports(tell) });
}

async function listen(on: Server, at: { path: string } | { host?: string; port: number }): Promise<void> {
  on.maxConnections = MAX_CONNECTIONS;
  if ("path" in at) rmSync(at.path, { force: true });
  await once(on.listen(at), "listening");
}

async function answers(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false; // It is not there yet.
  } finally {
    socket.destroy();
  }
}
