import type { Callee } from "@toolyard/runtimes/endpoint/connector.ts";
import type { Sealer } from "@toolyard/service-kit";
import type { Deployment, Replica } from "../deployment.ts";

/** How a replica is reached. A remote one at its origin; `url` is "" for one that is not started. Secret. */
export function calleeOf({ launch }: Deployment, replica: Replica, sealer: Sealer): Callee {
  if (launch.kind === "remote") return { url: new URL(launch.url).origin, token: "", owner: null };
  // Handles that an earlier version wrote have no endpoint.
  const endpoint = replica.handle?.endpoint ?? { url: "", owner: null };
  const token = launch.kind === "stdio" && endpoint.url !== "" ? sealer.open(replica.sealedToken, replica.id) : "";
  return { ...endpoint, token };
}
