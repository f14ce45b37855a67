import type { V1ContainerStateTerminated, V1Deployment, V1Pod } from "@kubernetes/client-node";
import { ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import { CANNOT_RUN } from "../container/cannot-run.ts";
import { exitOf } from "../container/exit-code.ts";
import { imageReference } from "../container/image-reference.ts";
import { outOfMemory } from "../container/out-of-memory.ts";
import { pullFailure } from "../container/pull-failure.ts";
import type { ReplicaLiveness } from "../runtime.ts";

export type ReplicaEnd = Extract<ReplicaLiveness, { alive: false }>;

/** What a pod is to the replica that runs in it. */
export type PodState =
  /** It has not run yet. `reason`: why, in a sentence, where the cluster says so. `refusal`: it never will. */
  | { phase: "WAITING"; reason: string | null; refusal: ToolyardError | null }
  | { phase: "RUNNING"; startedAt: number }
  | {
      phase: "ENDED";
      end: ReplicaEnd;
      /** It is another run's turn already, and its output is that of the one before. */
      previous: boolean;
      /** When the run began (epoch ms) that Kubernetes may have ended for a failed probe; null: it has not. */
      probedSince: number | null;
    };

/** Of one about which the cluster says nothing. */
export const NOTHING_YET = { phase: "WAITING", reason: null, refusal: null } as const;

/** Of the one container of a replica's pod. */
export const CONTAINER = "server";

/** Of a container whose command was never run. */
const NEVER_STARTED = ["ContainerCannotRun", "StartError"];
const NO_CONTAINER = "The cluster cannot make its container. It said:";
/** A user that may not be, and what the pod names and the cluster does not have, in the kubelet's words. */
const CANNOT_BE_CONFIGURED = /runAsNonRoot|non-numeric user|not found|couldn't find key/;
const REFUSED_BY_RULES = /violates PodSecurity|admission webhook .* denied|is invalid:|ValidatingAdmissionPolicy/;
const OUT_OF_QUOTA = /exceeded quota|failed quota/;

/**
 * The state of a replica's pod. Kubernetes starts an ended container again by itself, but to Toolyard each end is a replica's: `seenRestarts` says which
 * run is the replica's, by how many there were before.
 */
export function stateOf(pod: V1Pod, seenRestarts = 0): PodState {
  const { metadata, status, spec } = pod;
  const container = status?.containerStatuses?.find(({ name }) => name === CONTAINER);
  const { running, waiting, terminated } = container?.state ?? {};
  const isLater = (container?.restartCount ?? 0) > seenRestarts;
  const last = terminated ?? (isLater || waiting ? container?.lastState?.terminated : undefined);
  if (last && NEVER_STARTED.includes(last.reason ?? ""))
    return waitingFor(null, refused("The image's command cannot be run. The cluster said:", last.message));
  const evicted = status?.phase === "Failed" && status.reason ? [status.reason, status.message] : null;
  const disrupted = status?.conditions?.find(({ type, status: is }) => type === "DisruptionTarget" && is === "True");
  const [reason, message] = evicted ?? (disrupted ? [disrupted.reason, disrupted.message] : []);
  const cause = reason === undefined ? null : `The cluster ended it (${reason}). ${sentenceOf(message)}`.trim();
  if (last) {
    const isBackingOff = waiting?.reason === "CrashLoopBackOff";
    return {
      phase: "ENDED",
      end: endOf(last, cause, memoryMbOf(pod), isBackingOff ? (container?.restartCount ?? 0) : 0),
      previous: terminated === undefined && !isBackingOff && running !== undefined,
      probedSince: cause === null && spec?.containers[0]?.livenessProbe ? timeOf(last.startedAt) : null,
    };
  }
  if (cause !== null && (evicted || metadata?.deletionTimestamp)) return gone(cause);
  if (metadata?.deletionTimestamp) return gone("Its pod was deleted, by somebody else than Toolyard.");
  if (status?.phase === "Failed" || status?.phase === "Succeeded") return gone("Its pod has ended.");
  if (running)
    return { phase: "RUNNING", startedAt: timeOf(running.startedAt) ?? timeOf(metadata?.creationTimestamp) ?? 0 };
  return whyWaiting(pod, waiting);
}

function whyWaiting(pod: V1Pod, waiting: { reason?: string; message?: string } | undefined): PodState {
  const image = pod.spec?.containers[0]?.image ?? "";
  const { reason = "", message } = waiting ?? {};
  switch (reason) {
    case "ErrImagePull":
    case "ImagePullBackOff":
    case "RegistryUnavailable":
      return waitingFor(null, pullFailure(imageReference(image, null), `${message ?? reason}`));
    case "InvalidImageName":
      return waitingFor(null, refused(`There is no image ${image}. The cluster said:`, message));
    case "ErrImageNeverPull":
      return waitingFor(null, refused(`The node does not have the image ${image}. The cluster said:`, message));
    case "CreateContainerConfigError":
      return noContainer(CANNOT_BE_CONFIGURED, message ?? reason);
    case "CreateContainerError":
    case "RunContainerError":
      return noContainer(CANNOT_RUN, message ?? reason);
    default:
  }
  const scheduled = pod.status?.conditions?.find(({ type }) => type === "PodScheduled");
  if (scheduled?.status === "False")
    return waitingFor(`No node of the cluster can take it. The cluster said: ${sentenceOf(scheduled.message)}`, null);
  if (reason === "ContainerCreating")
    return waitingFor(`The node gets its image ${image} and makes its container.`, null);
  return waitingFor(null, null);
}

/** What no further try changes is refused; all else, as a node that is behind with its caches, is waited for. */
function noContainer(isFinal: RegExp, message: string): PodState {
  return isFinal.test(message)
    ? waitingFor(null, refused(NO_CONTAINER, message))
    : waitingFor(`${NO_CONTAINER} ${sentenceOf(message)}`, null);
}

/** Why a Deployment has no pod; null: it says nothing. */
export function whyNoPod({ status }: V1Deployment): PodState | null {
  const failure = status?.conditions?.find(({ type, status: is }) => type === "ReplicaFailure" && is === "True");
  if (!failure?.message) return null;
  const { message } = failure;
  if (OUT_OF_QUOTA.test(message))
    return waitingFor(`The quota of its namespace has no room for it. The cluster said: ${sentenceOf(message)}`, null);
  if (REFUSED_BY_RULES.test(message))
    return waitingFor(null, refused("The cluster's rules refuse its pod. It said:", message));
  return waitingFor(`The cluster does not make its pod. It said: ${sentenceOf(message)}`, null);
}

function endOf(
  { exitCode, signal: number, reason, message }: V1ContainerStateTerminated,
  cause: string | null,
  memoryMb: number | null,
  restarts: number,
): ReplicaEnd {
  const { exitCode: code, signal } = exitOf(number ? 128 + number : exitCode);
  const times = restarts === 1 ? "once" : `${restarts} times`;
  const again = restarts === 0 ? null : `Kubernetes has started it again ${times} (CrashLoopBackOff).`;
  const why = [reason === "OOMKilled" ? `It ${outOfMemory(memoryMb)}.` : null, cause, again].filter(
    (part) => part !== null,
  );
  return {
    alive: false,
    exitCode: code,
    signal,
    detail: message || null,
    ...(why.length > 0 && { why: why.join(" ") }),
  };
}

function gone(why: string): PodState {
  const end: ReplicaEnd = { alive: false, exitCode: null, signal: null, detail: null, why };
  return { phase: "ENDED", end, previous: false, probedSince: null };
}

function waitingFor(reason: string | null, refusal: ToolyardError | null): PodState {
  return { phase: "WAITING", reason: refusal?.message ?? reason, refusal };
}

function refused(what: string, message: string | undefined): ToolyardError {
  return new ToolyardError("BAD_USER_INPUT", `${what} ${sentenceOf(message)}`);
}

const LONGEST = 500;

export function sentenceOf(text: string | undefined): string {
  const words = (text ?? "").trim().replace(/\s+/g, " ").slice(0, LONGEST);
  return words === "" || /[.!?…]$/.test(words) ? words : `${words}.`;
}

/** Of mebibytes as a manifest says them, and as a cluster writes those that are many: 4096Mi is 4Gi to it. */
const MEMORY = /^(\d+)([MGT])i$/;
const MEBIBYTES: Record<string, number> = { M: 1, G: 1_024, T: 1_048_576 };

/** Its limit; null where it has none. */
function memoryMbOf({ spec }: V1Pod): number | null {
  const [, amount, unit = ""] = MEMORY.exec(spec?.containers[0]?.resources?.limits?.["memory"] ?? "") ?? [];
  return amount === undefined ? null : Number(amount) * (MEBIBYTES[unit] ?? 1);
}

/** In epoch milliseconds. Of a watch, times are text, whatever their type says. */
export function timeOf(time: Date | string | undefined): number | null {
  return time === undefined ? null : new Date(time).getTime();
}
