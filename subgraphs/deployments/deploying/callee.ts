import type { Callee } from "@toolyard/runtimes/endpoint/connector.ts";
import type { Sealer } from "@toolyard/service-kit";
import type { Deployment, Replica } from "../deployment.ts";
import { readable } from "./deployed-launch.ts";

/** How a replica is reached. A remote one at its origin; `url` is "" for one that is not started. Secret. */
export function calleeOf(deployment: Deployment, replica: Replica, sealer: Sealer): Callee {
  const launch = readable(deployment.launch);
  if (launch.kind === "remote") return { url: new URL(launch.url).origin, token: "", owner: null };
  // Handles that an earlier version wrote have no endpoint.
  const endpoint = replica.handle?.endpoint ?? { url: "", owner: null };
  const token = launch.kind === "stdio" && endpoint.url !== "" ? sealer.open(replica.sealedToken, replica.id) : "";
  return { ...endpoint, token };
}
