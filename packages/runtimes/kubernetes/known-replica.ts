import type { V1Deployment } from "@kubernetes/client-node";
import type { ReplicaHandle, ReplicaLogLine } from "../runtime.ts";
import { ANNOTATIONS, LABELS } from "./manifests.ts";
import type { ReplicaEnd } from "./pod-state.ts";

/** A replica: a Deployment of one pod. */
export interface KnownReplica {
  uid: string;
  /** Of its objects. */
  name: string;
  handle: ReplicaHandle;
  replicaId: string;
  deploymentId: string;
  logKey: string | null;
  /** Which pod, and which run of its container, is the replica's. */
  run: { uid: string; pod: string; restarts: number } | null;
  end: ReplicaEnd | null;
  /** Once `end` has what the cluster's events say of it; null: they are not asked. */
  explained: Promise<void> | null;
  /** Its end is nothing to tell. */
  stopping: boolean;
  /** Its last lines, since it ended. */
  output: Promise<ReplicaLogLine[]> | null;
}

/** The replica of a Deployment, of which nothing has been seen yet. */
export function toKnownReplica(ownerId: string, { metadata }: V1Deployment): KnownReplica {
  const { uid = "", name = "", labels = {}, annotations = {} } = metadata ?? {};
  const replicaId = labels[LABELS.replica] ?? "";
  return {
    uid,
    name,
    handle: {
      runtime: "KUBERNETES",
      name: annotations[ANNOTATIONS.name] ?? "",
      identity: { owner: ownerId, uid, replicaId },
      endpoint: { url: annotations[ANNOTATIONS.endpoint] ?? "", owner: null },
    },
    replicaId,
    deploymentId: labels[LABELS.deployment] ?? "",
    logKey: annotations[ANNOTATIONS.logKey] ?? null,
    run: null,
    end: null,
    explained: null,
    stopping: false,
    output: null,
  };
}
