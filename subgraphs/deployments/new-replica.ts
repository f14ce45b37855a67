import { randomBytes } from "node:crypto";
import { newId, type Sealer } from "@toolyard/service-kit";
import type { Deployment, Replica } from "./deployment.ts";

const TOKEN_BYTES = 32;

/** A replica that is about to start, with a token of its own. */
export function newReplica(options: {
  deployment: Pick<Deployment, "id" | "generation">;
  ordinal: number;
  hostId: string;
  address: string;
  port: number | null;
  sealer: Sealer;
}): Replica {
  const { deployment, ordinal, hostId, address, port, sealer } = options;
  const id = newId();
  return {
    id,
    deploymentId: deployment.id,
    ordinal,
    hostId,
    address,
    port,
    generation: deployment.generation,
    incarnation: 0,
    state: { phase: "PENDING" },
    attempts: 0,
    restarts: 0,
    handle: null,
    previousHandle: null,
    sealedToken: sealer.seal(randomBytes(TOKEN_BYTES).toString("base64url"), id),
    startedAt: null,
    lastProbeAt: null,
  };
}
