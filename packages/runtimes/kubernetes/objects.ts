import type { V1ConfigMap, V1Deployment, V1OwnerReference, V1Secret, V1Service } from "@kubernetes/client-node";
import { ToolyardError, preconditionFailed } from "@toolyard/service-kit/errors/errors.ts";
import { httpUrl } from "../endpoint/http-url.ts";
import { ClusterRefusal, orNull, type Cluster } from "./cluster.ts";
import type { EgressManifests } from "./egress-manifests.ts";
import { ANNOTATIONS, type Manifests } from "./manifests.ts";
import type { ReplicaEnd } from "./pod-state.ts";

const FIELD_MANAGER = "toolyard";
const CONFLICT = 409;

/** The objects of replicas in the cluster. All of a replica belong to its Deployment, and go with it; so does the Deployment with the anchor, where there is one. */
export interface Objects {
  /**
   * Makes them, or makes those that a start cut short has left like these; `begun` is told once there is something to remove, and `proxied` resolves once
   * the forward proxy of that name serves.
   * @throws as `Cluster.ask` does
   */
  make(
    manifests: Manifests,
    told: { begun: (uid: string) => void; proxied: (name: string) => Promise<void> },
    signal: AbortSignal | undefined,
  ): Promise<V1Deployment>;
  /** Has no pod run any more, and keeps how the last one ended. */
  retire(deployment: { name: string; uid: string }, ended: Ended): Promise<void>;
  /** Begins to remove the Deployment and all that belongs to it; it is there until that is done. */
  remove(deployment: { name: string; uid: string }): Promise<void>;
  /** Ends a pod in less time than its own. A node that ends it already may not hear of it. */
  hurry(pod: { name: string; uid: string }, graceSeconds: number): Promise<void>;
}

export interface Ended {
  at: number;
  end: ReplicaEnd;
}

/** @param anchor a ConfigMap of the namespace; null: none */
export function createObjects(cluster: Cluster, anchor: string | null): Objects {
  const { namespace } = cluster;
  const applied = { namespace, fieldManager: FIELD_MANAGER, force: true };

  /** Asked for anew at each start: one that was made again is another. */
  async function anchored(): Promise<<Item extends { metadata?: object }>(item: Item) => Item> {
    if (anchor === null) return (item) => item;
    const found = await orNull(
      cluster.ask(({ core }, { options }) => core.readNamespacedConfigMap({ namespace, name: anchor }, options)),
    );
    if (found === null)
      throw preconditionFailed(
        "MCP_KUBERNETES_ANCHOR",
        `There is no ConfigMap ${anchor} in the namespace ${namespace}.`,
      );
    const owner = { apiVersion: "v1", kind: "ConfigMap", name: anchor, uid: found.metadata?.uid ?? "" };
    return (item) => belongingTo(owner, item);
  }

  const applyDeployment = (body: V1Deployment): Promise<V1Deployment> =>
    cluster.ask(({ apps }, { apply }) =>
      apps.patchNamespacedDeployment({ ...applied, name: nameOf(body), body }, apply),
    );
  const applyService = (body: V1Service): Promise<V1Service> =>
    cluster.ask(({ core }, { apply }) => core.patchNamespacedService({ ...applied, name: nameOf(body), body }, apply));
  const applyConfigMap = (body: V1ConfigMap): Promise<unknown> =>
    cluster.ask(({ core }, { apply }) =>
      core.patchNamespacedConfigMap({ ...applied, name: nameOf(body), body }, apply),
    );
  const applySecret = (body: V1Secret): Promise<unknown> =>
    cluster.ask(({ core }, { apply }) => core.patchNamespacedSecret({ ...applied, name: nameOf(body), body }, apply));

  const applyPolicy = (body: EgressManifests["policies"][number]): Promise<unknown> =>
    cluster.ask(({ networking }, { apply }) =>
      networking.patchNamespacedNetworkPolicy({ ...applied, name: nameOf(body), body }, apply),
    );

  /** Its pod is not made before what keeps others from it. @returns its Service's address */
  async function applyEgress(
    owner: V1OwnerReference,
    { deployment, service, policies }: EgressManifests,
  ): Promise<string> {
    const [{ spec }] = await Promise.all([
      applyService(belongingTo(owner, service)),
      ...policies.map((policy) => applyPolicy(belongingTo(owner, policy))),
    ]);
    await applyDeployment(belongingTo(owner, deployment));
    return spec?.clusterIP ?? "";
  }

  return {
    async make({ name, deployment, service, configMap, secret, egress }, { begun, proxied }, signal) {
      const withAnchor = await anchored();
      // Without pods until all is there that they need.
      const { metadata } = await applyDeployment(withAnchor(deployment({ replicas: 0, endpoint: null })));
      const uid = metadata?.uid ?? "";
      const owner: V1OwnerReference = {
        apiVersion: "apps/v1",
        kind: "Deployment",
        name,
        uid,
        blockOwnerDeletion: true,
      };
      begun(uid);
      signal?.throwIfAborted();
      const [{ spec }, proxy] = await Promise.all([
        applyService(belongingTo(owner, service)),
        egress && applyEgress(owner, egress),
        configMap && applyConfigMap(belongingTo(owner, configMap)),
        secret && applySecret(belongingTo(owner, secret)),
      ]);
      if (egress) await proxied(egress.name);
      signal?.throwIfAborted();
      const [port] = spec?.ports ?? [];
      const endpoint = httpUrl(spec?.clusterIP ?? "", port?.port ?? 0);
      return applyDeployment(withAnchor(deployment({ replicas: 1, endpoint, proxy })));
    },
    async retire({ name, uid }, ended) {
      const body = {
        metadata: { uid, annotations: { [ANNOTATIONS.ended]: JSON.stringify(ended) } },
        spec: { replicas: 0 },
      };
      await unlessGone(
        cluster.ask(({ apps }, { merge }) =>
          apps.patchNamespacedDeployment({ namespace, name, body, fieldManager: FIELD_MANAGER }, merge),
        ),
      );
    },
    async remove({ name, uid }) {
      const body = { propagationPolicy: "Foreground", preconditions: { uid } };
      await unlessGone(
        cluster.ask(({ apps }, { options }) => apps.deleteNamespacedDeployment({ namespace, name, body }, options)),
      );
    },
    async hurry({ name, uid }, gracePeriodSeconds) {
      const body = { gracePeriodSeconds, preconditions: { uid } };
      await unlessGone(
        cluster.ask(({ core }, { options }) => core.deleteNamespacedPod({ namespace, name, body }, options)),
      );
    },
  };
}

/** How the replica of a Deployment that was retired ended. */
export function endedOf({ metadata }: V1Deployment): Ended | null {
  const text = metadata?.annotations?.[ANNOTATIONS.ended];
  // Written above.
  return text === undefined ? null : (JSON.parse(text) as Ended);
}

const nameOf = ({ metadata }: { metadata?: { name?: string } }): string => metadata?.name ?? "";

function belongingTo<Item extends { metadata?: object }>(owner: V1OwnerReference, item: Item): Item {
  return { ...item, metadata: { ...item.metadata, ownerReferences: [owner] } };
}

/** One that is gone, or another of its name, is not there to be changed. */
async function unlessGone(asked: Promise<unknown>): Promise<void> {
  await orNull(asked).catch((error: unknown) => {
    if (!(error instanceof ClusterRefusal) || error.status !== CONFLICT) throw error;
  });
}

const OUT_OF_QUOTA = /exceeded quota|failed quota/;

/** Why a start failed, of what the cluster said to the objects. */
export function startFailure({ status, message, cause }: ClusterRefusal): ToolyardError {
  if (OUT_OF_QUOTA.test(message))
    return new ToolyardError(
      "UPSTREAM_UNAVAILABLE",
      `The quota of its namespace has no room for it. The cluster said: ${message}`,
      { cause },
    );
  const isFinal = status === 400 || status === 403 || status === 422;
  return new ToolyardError(
    isFinal ? "BAD_USER_INPUT" : "UPSTREAM_UNAVAILABLE",
    `The cluster does not take it. It said: ${message}`,
    { cause },
  );
}
