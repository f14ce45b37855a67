import type { CoreV1Event } from "@kubernetes/client-node";
import type { Logger } from "@toolyard/service-kit/process/log.ts";
import type { Cluster } from "./cluster.ts";
import { sentenceOf, timeOf, type ReplicaEnd } from "./pod-state.ts";

/** The kubelet's words as it ends a container. */
const KILLED_BY_PROBE = /failed (?:liveness|startup) probe/;
const PROBE_FAILED = /^(?:Liveness|Startup) probe (?:failed|errored)/;

/** How a run of a pod's container ended, with what only the cluster's events say: that Kubernetes ended it, since its probe failed. */
export async function explainedEnd(
  { cluster, logger }: { cluster: Cluster; logger: Logger },
  /** `since`: when that run began, in epoch milliseconds. */
  run: { uid: string; since: number },
  end: ReplicaEnd,
): Promise<ReplicaEnd> {
  const { namespace } = cluster;
  const fieldSelector = `involvedObject.uid=${run.uid}`;
  try {
    const { items } = await cluster.ask(({ core }, { options }) =>
      core.listNamespacedEvent({ namespace, fieldSelector }, options),
    );
    const why = probeFailure(items, run.since);
    return why === null ? end : withWhy(end, why);
  } catch (error) {
    logger.debug({ err: error }, "what the cluster says of a pod's end cannot be read");
    return end.signal === null ? end : withWhy(end, "Somebody killed it, or Kubernetes did since its probe failed.");
  }
}

const withWhy = (end: ReplicaEnd, why: string): ReplicaEnd => ({
  ...end,
  why: [why, ...(end.why === undefined ? [] : [end.why])].join(" "),
});

/** In a sentence; null: its container was not ended by Kubernetes for a probe since then (epoch ms). */
export function probeFailure(events: readonly CoreV1Event[], since: number): string | null {
  const later = events.filter((event) => whenOf(event) >= since);
  if (!later.some(({ reason, message }) => reason === "Killing" && KILLED_BY_PROBE.test(message ?? ""))) return null;
  const [last] = later
    .filter(({ reason, message }) => reason === "Unhealthy" && PROBE_FAILED.test(message ?? ""))
    .toSorted((one, other) => whenOf(other) - whenOf(one));
  return `Kubernetes ended it, since it did not answer. ${sentenceOf(last?.message)}`.trim();
}

const whenOf = ({ lastTimestamp, eventTime }: CoreV1Event): number => timeOf(lastTimestamp ?? eventTime) ?? 0;
