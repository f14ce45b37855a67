import type { Callee } from "@toolyard/runtimes/endpoint/connector.ts";
import type { Sealer } from "@toolyard/service-kit";
import type { Deployment, Replica } from "../deployment.ts";
import { readable } from "./deployed-launch.ts";

/** How a replica is reached; `url` is "" for one that is not started. Secret. */
export function calleeOf(deployment: Deployment, replica: Replica, sealer: Sealer): Callee {
  const launch = readable(deployment.launch);
  // A remote server is called also before it is said to be started. Handles that an earlier version wrote have no endpoint.
  const unstarted = { url: launch.kind === "remote" ? new URL(launch.url).origin : "", owner: null };
  const endpoint = replica.handle?.endpoint ?? unstarted;
  const token = launch.kind === "stdio" && endpoint.url !== "" ? sealer.open(replica.sealedToken, replica.id) : "";
  return { ...endpoint, token };
}
