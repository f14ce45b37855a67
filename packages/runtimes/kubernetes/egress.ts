import { setTimeout as delay } from "node:timers/promises";
import type { V1Deployment, V1Pod } from "@kubernetes/client-node";
import { preconditionFailed } from "@toolyard/service-kit/errors/errors.ts";
import type { Logger } from "@toolyard/service-kit/process/log.ts";
import { createRefusalCounts, type RefusalCounts } from "../egress/refusal-counts.ts";
import { toRefusedLine } from "../egress/replica-side.ts";
import type { ReplicaLogLine } from "../runtime.ts";
import type { Cluster } from "./cluster.ts";
import { policiesThatLetOut } from "./egress-manifests.ts";
import type { PodLogs } from "./pod-logs.ts";

export const CANNOT_HOLD =
  "An egress list needs MCP_NETWORK_POLICY_ENFORCED=true, where the cluster's network keeps to NetworkPolicies, and MCP_RUNNER_IMAGE, whose image has the forward proxy.";

const KEPT_LINES = 200;
const AGAIN_MS = 1_000;

/** What is refused to replicas with an egress list, as their forward proxies print it. */
export interface EgressWatch {
  refusals: RefusalCounts["byDeployment"];
  /** Keeps what is refused to a replica until `unwatch`, and counts and logs it. `podOf`: the proxy's, while it has one. */
  watch(
    uid: string,
    /** What is older than `countFrom` (epoch ms) was counted by another process. */
    replica: { name: string; deploymentId: string; countFrom: number; podOf: () => string | null },
  ): void;
  unwatch(uid: string): void;
  /** Of a replica, the last lines; also after `unwatch`, until `forget`. */
  lines(uid: string): readonly ReplicaLogLine[];
  follow(uid: string, since: number, signal: AbortSignal): AsyncGenerator<ReplicaLogLine>;
  forget(uid: string): void;
}

interface Watched {
  closing: AbortController;
  lines: ReplicaLogLine[];
  podOf: () => string | null;
}

export function createEgressWatch(options: { podLogs: PodLogs; logger: Logger }): EgressWatch {
  const { podLogs, logger } = options;
  const refusals = createRefusalCounts(logger);
  const watched = new Map<string, Watched>();
  const runOf = (pod: string) => ({ pod, logKey: null, previous: false });

  async function read(
    { closing: { signal }, lines, podOf }: Watched,
    of: { name: string; deploymentId: string; countFrom: number },
  ): Promise<void> {
    let since = 0;
    while (!signal.aborted) {
      const pod = podOf();
      try {
        for await (const line of pod === null ? [] : podLogs.follow(runOf(pod), since, signal)) {
          since = line.at + 1;
          lines.push(...toRefusedLine(line));
          if (lines.length > KEPT_LINES) lines.shift();
          if (line.at >= of.countFrom) refusals.note(of, line.text);
        }
      } catch (error) {
        logger.debug({ err: error, replica: of.name }, "an egress proxy is not watched");
      }
      await delay(AGAIN_MS, undefined, { signal, ref: false }).catch(() => undefined);
    }
  }

  return {
    refusals: refusals.byDeployment,
    watch(uid, { podOf, ...of }) {
      if (watched.has(uid)) return;
      const entry: Watched = { closing: new AbortController(), lines: [], podOf };
      watched.set(uid, entry);
      void read(entry, of);
    },
    unwatch: (uid) => watched.get(uid)?.closing.abort(),
    lines: (uid) => watched.get(uid)?.lines ?? [],
    async *follow(uid, since, signal) {
      const pod = watched.get(uid)?.podOf() ?? null;
      if (pod === null) return;
      for await (const line of podLogs.follow(runOf(pod), since, signal)) yield* toRefusedLine(line);
    },
    forget(uid) {
      watched.get(uid)?.closing.abort();
      watched.delete(uid);
    },
  };
}

/** @throws ToolyardError PRECONDITION_FAILED where policies of the namespace let a replica with these labels reach more than its list */
export async function requireClosed(
  cluster: Cluster,
  { name, labels }: { name: string; labels: Readonly<Record<string, string>> },
): Promise<void> {
  const { namespace } = cluster;
  const { items } = await cluster.ask(({ networking }, { options }) =>
    networking.listNamespacedNetworkPolicy({ namespace }, options),
  );
  const [open] = policiesThatLetOut(items, labels, name);
  if (open !== undefined)
    throw preconditionFailed(
      "options.egress",
      `The NetworkPolicy ${open} of the namespace ${namespace} lets it reach more than its egress list. Where that is an earlier one of Toolyard's, scripts/setup-k8s.sh or helm upgrade brings it up to date.`,
    );
}

/** Whether a Deployment's pod takes connections. */
export const isAvailable = (deployment: V1Deployment | undefined): boolean =>
  (deployment?.status?.availableReplicas ?? 0) > 0;

export const runningPod = (pods: readonly V1Pod[]): string | null =>
  pods.find(({ metadata, status }) => status?.phase === "Running" && !metadata?.deletionTimestamp)?.metadata?.name ??
  null;
