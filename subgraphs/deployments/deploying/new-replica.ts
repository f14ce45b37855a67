import { randomBytes } from "node:crypto";
import { newId, type Sealer } from "@toolyard/service-kit";
import type { Deployment, Replica } from "../deployment.ts";
import type { Place } from "../hosts/placement.ts";

const TOKEN_BYTES = 32;

/** A bearer token for one start of a replica, sealed. */
export function newToken(sealer: Sealer, replicaId: string): string {
  return sealer.seal(randomBytes(TOKEN_BYTES).toString("base64url"), replicaId);
}

/** A replica that is about to start. It gets a token when it does. */
export function newReplica(options: {
  deployment: Pick<Deployment, "id" | "generation">;
  ordinal: number;
  place: Place;
}): Replica {
  const { deployment, ordinal, place } = options;
  return {
    id: newId(),
    deploymentId: deployment.id,
    ordinal,
    ...place,
    generation: deployment.generation,
    incarnation: 0,
    state: { phase: "PENDING" },
    attempts: 0,
    restarts: 0,
    handle: null,
    previousHandle: null,
    sealedToken: "",
    startedAt: null,
    lastProbeAt: null,
  };
}
