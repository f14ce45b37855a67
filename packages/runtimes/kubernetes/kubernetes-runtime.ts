import type { V1Deployment, V1Pod } from "@kubernetes/client-node";
import { messageOf, ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import type { Logger } from "@toolyard/service-kit/process/log.ts";
import { containerLaunch } from "../container/container-launch.ts";
import { NOBODY_KNOWS } from "../container/exit-code.ts";
import { imageReference } from "../container/image-reference.ts";
import { NOTHING_PASSED_ON, type PassedOn } from "../container/passed-on.ts";
import { claimFolder } from "../process/ownership.ts";
import { proxyVariables } from "../egress/replica-side.ts";
import { joined } from "../joined.ts";
import { oneStart } from "../one-start.ts";
import type { ReplicaHandle, ReplicaSpec, Runtime } from "../runtime.ts";
import { ClusterRefusal, createCluster, type ClusterCredentials } from "./cluster.ts";
import { CANNOT_HOLD, createEgressWatch, isAvailable, requireClosed, runningPod } from "./egress.ts";
import { egressName, PROXY_URL } from "./egress-manifests.ts";
import {
  ANNOTATIONS,
  GRACE_SECONDS,
  LABELS,
  manifestsOf,
  objectName,
  ownLabels,
  type PodPlacement,
} from "./manifests.ts";
import { toKnownReplica, type KnownReplica } from "./known-replica.ts";
import { mirrorOf } from "./mirror.ts";
import { createObjects, endedOf, startFailure } from "./objects.ts";
import { explainedEnd } from "./pod-events.ts";
import { createPodLogs } from "./pod-logs.ts";
import { NOTHING_YET, stateOf, timeOf, whyNoPod, type PodState, type ReplicaEnd } from "./pod-state.ts";
import { createWaiting } from "./waiting.ts";

export interface KubernetesRuntimeOptions {
  credentials: ClusterCredentials;
  namespace: string;
  /** By which this Toolyard's replicas are known, wherever it runs; null: they are this DATA_DIR's. */
  owner: string | null;
  /** A ConfigMap of the namespace that replicas belong to, and go with; null: Toolyard alone removes them. */
  anchor: string | null;
  dataDir: string;
  /** Of short names of images; null: the nodes complete them. */
  imageRegistry: string | null;
  /** In which launches that are commands run; null: they do not. */
  runnerImage: string | null;
  /** Whether the cluster's network keeps to NetworkPolicies, which it does not tell itself: without, no replica is held to an egress list. */
  keepsPolicies: boolean;
  placement: PodPlacement;
  /** @default nothing */
  passedOn?: PassedOn;
  logger: Logger;
  /** How long what ended and was not forgotten is kept. */
  keepEndedMs: number;
  /** How long a pod may take until its server runs. @default 600000 */
  startTimeoutMs?: number;
  /** How long a pod may still be there after its time before `stop` gives up. @default 30000 */
  killTimeoutMs?: number;
  /** How long the cluster may take to answer. @default 30000 */
  answerTimeoutMs?: number;
  now?: () => number;
}

/** One that another process of this Toolyard may still be making. */
const HALF_MADE_MS = 600_000;

/**
 * Runs replicas as pods of a cluster, each by a Deployment of its own: Kubernetes keeps them running while Toolyard is away. While it is there, each
 * end of a server is its replica's end, and Toolyard alone starts another (docs/decisions/kubernetes-replicas.md).
 */
export function createKubernetesRuntime(options: KubernetesRuntimeOptions): Runtime {
  const { namespace, imageRegistry, runnerImage, placement, logger, keepEndedMs } = options;
  const { environment, trust } = options.passedOn ?? NOTHING_PASSED_ON;
  const { startTimeoutMs = 600_000, killTimeoutMs = 30_000, answerTimeoutMs = 30_000, now = Date.now } = options;
  const proxyImage =
    runnerImage === null || !options.keepsPolicies ? null : imageReference(runnerImage, imageRegistry).name;
  const ownerId = options.owner ?? claimFolder(options.dataDir);
  const cluster = createCluster({ credentials: options.credentials, namespace, timeoutMs: answerTimeoutMs });
  const objects = createObjects(cluster, options.anchor);
  const podLogs = createPodLogs({ cluster, logger });
  const refused = createEgressWatch({ podLogs, logger });

  /** By the Deployment's uid. */
  const known = new Map<string, KnownReplica>();
  /** Deployments that this process has made: their first run is the replica's, else the one that was found. */
  const made = new Set<string>();
  const starts = new Map<string, Promise<ReplicaHandle>>();
  const stops = new Map<string, { deadline: number; done: Promise<void> }>();
  const listeners = new Set<(handle: ReplicaHandle, deploymentId: string) => void>();

  const labelSelector = Object.entries(ownLabels(ownerId))
    .map(([name, value]) => `${name}=${value}`)
    .join(",");
  const watched = { cluster, labelSelector, logger };
  const deployments = mirrorOf<V1Deployment>({
    ...watched,
    path: `/apis/apps/v1/namespaces/${namespace}/deployments`,
    list: ({ apps }, { options: how }) => apps.listNamespacedDeployment({ namespace, labelSelector }, how),
    changed(before, after) {
      if (after !== null) observe(after);
      else if (before !== null) lost(before);
      wake();
    },
  });
  const pods = mirrorOf<V1Pod>({
    ...watched,
    path: `/api/v1/namespaces/${namespace}/pods`,
    list: ({ core }, { options: how }) => core.listNamespacedPod({ namespace, labelSelector }, how),
    changed(before, after) {
      const deployment = deployments.get((after ?? before)?.metadata?.labels?.[LABELS.instance] ?? "");
      if (deployment) observe(deployment);
      wake();
    },
  });
  const fresh = async (): Promise<void> => {
    await Promise.all([deployments.fresh(), pods.fresh()]);
  };
  const { wake, until, untilStarted } = createWaiting({ fresh, startTimeoutMs, now });

  const uidOf = ({ identity }: ReplicaHandle): string => String(identity["uid"]);
  const isOwn = ({ identity }: ReplicaHandle): boolean => identity["owner"] === ownerId;
  const podsOf = (name: string): V1Pod[] =>
    pods.all().filter(({ metadata }) => metadata?.labels?.[LABELS.instance] === name);

  function enter(deployment: V1Deployment): KnownReplica {
    const entry = toKnownReplica(ownerId, deployment);
    known.set(entry.uid, entry);
    return entry;
  }

  const isWanted = ({ metadata, spec }: V1Deployment): boolean =>
    metadata?.deletionTimestamp === undefined && spec?.replicas !== 0;
  /** What a Deployment and its pods are now, to its replica. */
  function observe(deployment: V1Deployment): void {
    const labels = deployment.metadata?.labels ?? {};
    if (LABELS.egressOf in labels) return;
    const retired = endedOf(deployment);
    if (retired === null && deployment.spec?.replicas === 0) return; // half made, or being stopped
    const entry = known.get(deployment.metadata?.uid ?? "") ?? enter(deployment);
    if (entry.end !== null || entry.stopping) return;
    if (retired !== null) return finish(entry, { end: retired.end, isRecorded: true });
    if (!isWanted(deployment)) return lost(deployment);
    const candidates = podsOf(entry.name);
    const pod = entry.run
      ? candidates.find(({ metadata }) => metadata?.uid === entry.run?.uid)
      : (candidates.find(({ metadata }) => !metadata?.deletionTimestamp) ?? candidates[0]);
    if (!pod) {
      if (entry.run !== null)
        finish(entry, { end: { ...NOBODY_KNOWS, why: "Its pod was removed, by somebody else than Toolyard." } });
      return;
    }
    entry.run ??= { uid: pod.metadata?.uid ?? "", pod: pod.metadata?.name ?? "", restarts: runsBefore(entry.uid, pod) };
    if (LABELS.egress in labels)
      refused.watch(entry.uid, {
        name: entry.handle.name,
        deploymentId: entry.deploymentId,
        countFrom: made.has(entry.uid) ? 0 : now(),
        podOf: () => runningPod(podsOf(egressName(entry.name))),
      });
    const state = stateOf(pod, entry.run.restarts);
    if (state.phase === "ENDED") finish(entry, state);
  }

  function lost({ metadata }: V1Deployment): void {
    const entry = known.get(metadata?.uid ?? "");
    if (!entry || entry.end !== null || entry.stopping) return;
    const why = "Its Deployment was deleted, by somebody else than Toolyard.";
    finish(entry, { end: { ...NOBODY_KNOWS, why }, isRecorded: true });
  }

  /** The replica has ended, by itself or by others. Its pod is taken away before Kubernetes starts it again and again. */
  function finish(
    entry: KnownReplica,
    found: { end: ReplicaEnd; previous?: boolean; probedSince?: number | null; isRecorded?: boolean },
  ): void {
    const { end, previous = false, probedSince: since = null, isRecorded = false } = found;
    entry.end = end;
    if (since !== null && entry.run !== null)
      entry.explained = explainedEnd({ cluster, logger }, { uid: entry.run.uid, since }, end).then((whole) => {
        entry.end = whole;
      });
    refused.unwatch(entry.uid);
    entry.output =
      entry.run === null ? Promise.resolve([]) : podLogs.kept({ pod: entry.run.pod, logKey: entry.logKey, previous });
    if (!isRecorded)
      void Promise.all([entry.output, entry.explained])
        .then(() => objects.retire(entry, { at: now(), end: entry.end ?? end }))
        .catch((error: unknown) =>
          logger.warn({ err: error, replica: entry.handle.name }, "the end of a pod's replica could not be recorded"),
        );
    if (!starts.has(entry.handle.name)) tell(entry);
  }

  function tell({ handle, deploymentId, stopping }: KnownReplica): void {
    if (!stopping) for (const listener of listeners) listener(handle, deploymentId);
  }

  async function begin(
    spec: ReplicaSpec,
    signal: AbortSignal | undefined,
    progress: (reason: string) => void,
  ): Promise<ReplicaHandle> {
    const isHeld = (spec.options?.egress ?? null) !== null;
    if (isHeld && proxyImage === null) throw new ToolyardError("BAD_USER_INPUT", CANNOT_HOLD);
    const launch = containerLaunch(spec, runnerImage, { ...environment, ...(isHeld && proxyVariables(PROXY_URL)) });
    const image = imageReference(launch.image, imageRegistry).name;
    signal?.throwIfAborted();
    await stops.get(spec.name)?.done;
    await tidied;
    await fresh();
    const name = objectName(ownerId, spec.name);
    let uid = await uidToGoOnWith(name);
    signal?.throwIfAborted();
    try {
      if (uid === null || deployments.get(name)?.spec?.replicas === 0) {
        const manifests = manifestsOf(spec, { ...launch, image }, { ownerId, namespace, placement, trust, proxyImage });
        if (manifests.egress) await requireClosed(cluster, manifests.egress.replica);
        const told = {
          begun: (itsUid: string) => made.add((uid = itsUid)),
          proxied: (proxy: string) => untilProxied(proxy, signal, progress),
        };
        deployments.put(await objects.make(manifests, told, signal));
      }
      const entry = known.get(uid ?? "");
      if (!entry) throw new ToolyardError("UPSTREAM_UNAVAILABLE", "Its Deployment was removed by somebody else.");
      await untilItRuns(entry, signal, progress);
      return entry.handle;
    } catch (error) {
      if (uid !== null) await abandon({ name, uid }, spec.name);
      throw error;
    }
  }

  /** Of a Deployment of this name that runs, or is half made; one that has ended is removed first. Null: there is none. */
  async function uidToGoOnWith(name: string): Promise<string | null> {
    const there = deployments.get(name);
    if (!there) return null;
    const { uid = "", deletionTimestamp } = there.metadata ?? {};
    const hasEnded = deletionTimestamp !== undefined || endedOf(there) !== null || known.get(uid)?.end != null;
    if (!hasEnded) return uid;
    await remove({ name, uid }, () => 0);
    return null;
  }

  async function untilItRuns(
    entry: KnownReplica,
    signal: AbortSignal | undefined,
    progress: (reason: string) => void,
  ): Promise<void> {
    await untilStarted(() => entry.end !== null || stateNow(entry), "Its pod did not run", signal, progress);
  }

  /** Until the pod of an egress list's forward proxy takes connections. */
  function untilProxied(
    name: string,
    signal: AbortSignal | undefined,
    progress: (reason: string) => void,
  ): Promise<void> {
    const look = (): true | PodState => {
      const deployment = deployments.get(name);
      if (isAvailable(deployment)) return true;
      const state = podsOf(name).map((pod) => stateOf(pod))[0] ?? (deployment && whyNoPod(deployment));
      if (state?.phase !== "ENDED") return state?.phase === "WAITING" ? state : NOTHING_YET;
      return {
        ...NOTHING_YET,
        reason: "It ended; MCP_RUNNER_IMAGE is to be Toolyard's own of this version, or made from it.",
      };
    };
    const telling = (reason: string) => progress(`The forward proxy of its egress list: ${reason}`);
    return untilStarted(look, "The forward proxy of its egress list did not start", signal, telling);
  }

  function stateNow({ name, run }: KnownReplica): PodState {
    const pod = podsOf(name).find(({ metadata }) => metadata?.uid === run?.uid);
    if (pod && run) return stateOf(pod, run.restarts);
    const deployment = deployments.get(name);
    return (deployment && whyNoPod(deployment)) ?? NOTHING_YET;
  }

  /** Nothing is left of a start that failed. */
  async function abandon(deployment: { name: string; uid: string }, replica: string): Promise<void> {
    const entry = known.get(deployment.uid);
    if (entry) entry.stopping = true;
    try {
      await remove(deployment, () => 0);
      drop(deployment.uid);
    } catch (error) {
      if (entry) entry.stopping = false;
      logger.warn({ err: error, replica }, "what a failed start has made could not be removed; the next sweep does");
    }
  }

  function drop(uid: string): void {
    known.delete(uid);
    made.delete(uid);
    refused.forget(uid);
  }

  /** Removes a Deployment and all that belongs to it; resolves once it is gone. Its pods have until the deadline (epoch ms) to end. */
  async function remove(deployment: { name: string; uid: string }, deadline: () => number): Promise<void> {
    const { name, uid } = deployment;
    const hurried = new Map<string, number>();
    const begun = now();
    const limit = (): number => Math.max(begun, deadline());
    const hurry = async (): Promise<void> => {
      // At 0 the cluster would forget a pod that may still run.
      const seconds = Math.max(1, Math.ceil((limit() - begun) / 1_000));
      for (const { metadata } of podsOf(name)) {
        const { uid: podUid = "", name: pod = "", deletionGracePeriodSeconds = GRACE_SECONDS } = metadata ?? {};
        if ((hurried.get(podUid) ?? deletionGracePeriodSeconds) <= seconds) continue;
        hurried.set(podUid, seconds);
        await objects.hurry({ name: pod, uid: podUid }, seconds);
      }
    };
    // First, since a node keeps to the time that it was told first.
    if (deployments.get(name)?.metadata?.uid === uid) await hurry();
    await objects.remove(deployment);
    await until(async () => {
      const there = deployments.get(name);
      // Its pods may outlast it.
      if (there ? there.metadata?.uid !== uid : podsOf(name).length === 0) return true;
      if (now() > limit() + killTimeoutMs)
        throw new ToolyardError("UPSTREAM_UNAVAILABLE", "The cluster does not end its pod, whose node may be away.");
      await hurry();
      return false;
    });
  }

  async function end(handle: ReplicaHandle, deadline: () => number): Promise<void> {
    if (!isOwn(handle)) return;
    await starts.get(handle.name)?.catch(() => undefined); // Its caller has the error.
    await fresh();
    const entry = known.get(uidOf(handle));
    if (!entry) return;
    const wasAlive = entry.end === null;
    entry.stopping = true;
    try {
      const printing = wasAlive && entry.run ? await podLogs.keepToTheEnd(runOf(entry, entry.run)) : null;
      await entry.output;
      await remove(entry, deadline);
      if (printing) entry.output = printing.lines();
      refused.unwatch(entry.uid);
      entry.end ??= NOBODY_KNOWS;
    } finally {
      entry.stopping = false;
    }
  }

  const runOf = ({ logKey }: KnownReplica, { pod }: { pod: string }) => ({ pod, logKey, previous: false });

  function runsBefore(uid: string, { status }: V1Pod): number {
    const [container] = status?.containerStatuses ?? [];
    return made.has(uid) || !container?.state?.running ? 0 : container.restartCount;
  }

  /** What a killed process has left half made, or nobody has dealt with for long. */
  async function tidy(): Promise<void> {
    await fresh();
    for (const deployment of deployments.all()) {
      const { name = "", uid = "", annotations = {}, creationTimestamp } = deployment.metadata ?? {};
      if (deployment.spec?.replicas !== 0 || starts.has(annotations[ANNOTATIONS.name] ?? "")) continue;
      const ended = endedOf(deployment);
      const since = ended?.at ?? timeOf(creationTimestamp) ?? 0;
      const keptMs = ended ? keepEndedMs : options.owner === null ? 0 : HALF_MADE_MS;
      if (now() - since > keptMs) await objects.remove({ name, uid });
    }
  }
  const tidied = tidy().catch((error: unknown) =>
    logger.debug({ err: error }, "what was left in the cluster cannot be looked at now"),
  );

  return {
    kind: "KUBERNETES",
    capabilities: {
      launches: runnerImage === null ? ["image"] : ["stdio", "http", "image"],
      maxReplicas: null,
      location: options.owner === null ? "HOST" : "ELSEWHERE",
      egress: proxyImage !== null,
      adopts: true,
      isolation: {
        isolated: true,
        detail: "Replicas are pods without capabilities or a way to gain any, whose root is read-only.",
      },
    },
    needsPort: () => false,
    egressRefusals: () => refused.refusals,
    problem: () =>
      cluster
        .ask(({ apps }, { options: how }) => apps.listNamespacedDeployment({ namespace, labelSelector, limit: 1 }, how))
        .then(() => null, messageOf),

    start(spec, signal, progress = () => undefined) {
      return oneStart(starts, spec.name, async () => {
        try {
          const handle = await begin(spec, signal, progress);
          const entry = known.get(uidOf(handle));
          // Told once its caller has the handle.
          if (entry?.end) setImmediate(tell, entry);
          return handle;
        } catch (error) {
          throw error instanceof ClusterRefusal ? startFailure(error) : error;
        }
      });
    },
    async list() {
      await fresh();
      return deployments.all().flatMap((deployment) => {
        const entry = isWanted(deployment) ? known.get(deployment.metadata?.uid ?? "") : undefined;
        if (!entry || entry.end !== null) return [];
        const { handle, replicaId, deploymentId } = entry;
        return { handle, replicaId, deploymentId };
      });
    },
    recognize: async (handle) => (isOwn(handle) ? handle : null),
    async inspect(handle) {
      if (!isOwn(handle)) return NOBODY_KNOWS;
      await fresh();
      const entry = known.get(uidOf(handle));
      if (!entry) return NOBODY_KNOWS;
      await entry.explained;
      if (entry.end !== null) return entry.end;
      const state = stateNow(entry);
      const startedAt =
        state.phase === "RUNNING" ? state.startedAt : timeOf(deployments.get(entry.name)?.metadata?.creationTimestamp);
      return { alive: true, startedAt: startedAt ?? 0 };
    },
    async logs(handle, last) {
      const entry = known.get(uidOf(handle));
      if (last <= 0 || !entry) return [];
      const own = await (entry.output ?? (entry.run === null ? [] : podLogs.last(runOf(entry, entry.run), last)));
      return [...own, ...refused.lines(entry.uid)].toSorted((a, b) => a.at - b.at).slice(-last);
    },
    async *followLogs(handle, signal, from = "NOW") {
      const since = from === "START" ? 0 : now();
      const entry = known.get(uidOf(handle));
      if (!entry?.run || entry.end !== null) return;
      const run = runOf(entry, entry.run);
      yield* joined(
        (ended) => podLogs.follow(run, since, ended),
        (ended) => refused.follow(entry.uid, since, ended),
        signal,
      );
    },
    stop(handle, graceMs) {
      const deadline = now() + graceMs;
      const current = stops.get(handle.name);
      if (current) {
        current.deadline = Math.min(current.deadline, deadline);
        return current.done;
      }
      const stop = { deadline, done: Promise.resolve() };
      stop.done = end(handle, () => stop.deadline).finally(() => stops.delete(handle.name));
      stops.set(handle.name, stop);
      return stop.done;
    },
    async forget(handle) {
      if (!isOwn(handle)) return;
      await stops.get(handle.name)?.done;
      await fresh();
      const entry = known.get(uidOf(handle));
      if (!entry) return;
      if (entry.end === null) throw new ToolyardError("CONFLICT", `Replica ${handle.name} still runs.`);
      if (deployments.get(entry.name)?.metadata?.uid === entry.uid) await remove(entry, () => 0);
      drop(entry.uid);
    },
    onExit(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async close() {
      for (const uid of known.keys()) refused.forget(uid);
      await Promise.all([deployments.close(), pods.close()]);
    },
  };
}
