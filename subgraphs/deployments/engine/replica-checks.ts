import { setTimeout as delay } from "node:timers/promises";
import { newId } from "@toolyard/service-kit";
import { TOLD_WITHIN_MS } from "../busy-replicas.ts";
import { calleeOf } from "../deploying/callee.ts";
import { readable } from "../deploying/deployed-launch.ts";
import { openHeaders, openUrl, whyUnopened } from "../deploying/launch-opening.ts";
import type { Deployment, HealthCheck, HealthStatus, Replica, ReplicaPhase } from "../deployment.ts";
import type { InterfaceRecorder } from "../interfaces/interface-recorder.ts";
import type { Reason } from "../reason.ts";
import type { DeploymentRecord } from "../store/deployment-store.ts";
import type { Limit } from "./probe-limit.ts";
import type { ProbeResult, ProbeTarget } from "./probe.ts";
import { currentOf, ignoreAbort, type ReplicaContext } from "./replica-context.ts";
import type { ReplicaEvent } from "./transitions.ts";

/** Calls replicas, and judges them by what they answer. */
export interface ReplicaChecks {
  /** One call now, recorded. Answers a check that changes nothing, which is written later together with those of others. */
  probe(record: DeploymentRecord, replica: Replica, signal: AbortSignal): Promise<HealthCheck | null>;
  /** The same for a waiting caller: recorded at once. Null when the replica has changed meanwhile. @param atMost As of a probe */
  check(record: DeploymentRecord, replica: Replica, signal: AbortSignal, atMost: Limit): Promise<HealthCheck | null>;
  /** A call of the replica; a call that cannot be made, since a sealed value does not open, has failed for good. */
  callAs(
    how: "check" | "checkStartup",
    deployment: Deployment,
    replica: Replica,
    signal: AbortSignal,
    atMost?: Limit,
  ): Promise<ProbeResult>;
  toCheck(
    replica: Replica,
    result: Pick<ProbeResult, "kind" | "latencyMs">,
    status: HealthStatus,
    why: Reason | null,
  ): HealthCheck;
  /** The replica has become READY: what it offers is recorded, beside all else. */
  noteReady(deployment: Deployment, replica: Replica): void;
}

export function createReplicaChecks(context: ReplicaContext): ReplicaChecks {
  const { prober, sealer, secrets, isBusy, listed, recorder, quietProbes, now, apply, update, hidden } = context;

  function targetOf(deployment: Deployment, replica: Replica): ProbeTarget {
    return {
      ...calleeOf(deployment, replica, sealer),
      launch: readable(deployment.launch),
      mcpUrl: openUrl(deployment, sealer),
      headers: openHeaders(deployment, sealer),
      handle: replica.handle,
    };
  }

  async function callAs(
    how: "check" | "checkStartup",
    deployment: Deployment,
    replica: Replica,
    signal: AbortSignal,
    atMost?: Limit,
  ): Promise<ProbeResult> {
    let target: ProbeTarget;
    try {
      target = targetOf(deployment, replica);
    } catch (error) {
      const detail = `It cannot be called. ${whyUnopened(error)}`;
      return { outcome: "FAILED", kind: "none", latencyMs: 0, detail, words: null, hopeless: true };
    }
    const result = await prober[how](target, signal, atMost);
    if (result.tools) listed.note(deployment.id, result.tools);
    return result;
  }

  /** A server that does one thing at a time answers no probe while it has a call. Bridges report that themselves; for other servers, proxies do. */
  async function unlessBusy(
    { launch }: Deployment,
    replica: Replica,
    result: ProbeResult,
    signal: AbortSignal,
  ): Promise<ProbeResult> {
    if (launch.kind === "stdio") return result;
    if (!isBusy(replica.id)) await delay(TOLD_WITHIN_MS, undefined, { signal, ref: false }).catch(ignoreAbort);
    if (!isBusy(replica.id)) return result;
    return { ...result, outcome: "BUSY", detail: `${result.detail} It has calls that are within their time.` };
  }

  /** The result of a call of the replica, and the event that follows from it; null: none. */
  interface Asked {
    check: HealthCheck;
    event: ReplicaEvent | null;
  }

  async function ask(
    { deployment }: DeploymentRecord,
    replica: Replica,
    signal: AbortSignal,
    atMost?: Limit,
  ): Promise<Asked | null> {
    const { phase } = replica.state;
    const answer = await callAs(phase === "STARTING" ? "checkStartup" : "check", deployment, replica, signal, atMost);
    if (signal.aborted) return null;
    const result = answer.late ? await unlessBusy(deployment, replica, answer, signal) : answer;
    const why = result.outcome === "ANSWERED" ? null : hidden(deployment, replica, whyOf(result));
    // A caller that waits less long than probes cannot judge slower answers.
    const isUndecided = atMost !== undefined && result.late === atMost;
    const check = toCheck(replica, result, statusOf(result.outcome, phase, isUndecided), why);
    // A replica that starts is judged by its deadline, not by one call; a READY one does not change by answering.
    const isJudged =
      !isUndecided &&
      ((phase === "UNHEALTHY" && result.outcome !== "BUSY") || (phase === "READY" && result.outcome === "FAILED"));
    if (!isJudged) return { check, event: null };
    return { check, event: why === null ? { type: "answered" } : { type: "silent", ...why } };
  }

  async function conclude(replica: Replica, { check, event }: Asked): Promise<HealthCheck | null> {
    const set = () => ({ lastProbeAt: check.at });
    const changed = event && (await apply(replica, event, { set, check }));
    if (changed) {
      if (currentOf(changed, replica)?.state.phase === "READY" && replica.state.phase !== "READY")
        noteReady(changed.deployment, replica);
      return check;
    }
    return (await update(replica, set, check)) ? check : null;
  }

  const answering = (deployment: Deployment, replica: Replica): Parameters<InterfaceRecorder["begin"]>[0] => ({
    deployment,
    replicaId: replica.id,
    mask: () => secrets.mask(deployment, replica),
    read: (signal) => prober.readInterface(targetOf(deployment, replica), signal),
  });
  const noteReady = (deployment: Deployment, replica: Replica) => recorder.begin(answering(deployment, replica));

  function toCheck(
    replica: Replica,
    { kind, latencyMs }: Pick<ProbeResult, "kind" | "latencyMs">,
    status: HealthStatus,
    why: Reason | null,
  ): HealthCheck {
    return {
      id: newId(),
      deploymentId: replica.deploymentId,
      replicaId: replica.id,
      at: now(),
      status,
      kind,
      latencyMs,
      detail: why?.reason ?? null,
      words: why?.words ?? null,
    };
  }

  return {
    callAs,
    toCheck,
    noteReady,
    async probe(record, replica, signal) {
      const asked = await ask(record, replica, signal);
      if (asked === null) return null;
      const { check, event } = asked;
      if (event === null) {
        quietProbes.note({ replicaId: replica.id, incarnation: replica.incarnation, check });
        const isReady = replica.state.phase === "READY" && check.status === "HEALTHY";
        if (isReady) recorder.beginUnlessKnown(answering(record.deployment, replica));
      } else await conclude(replica, asked);
      return event === null ? check : null;
    },

    async check(record, replica, signal, atMost) {
      const asked = await ask(record, replica, signal, atMost);
      return asked && conclude(replica, asked);
    },
  };
}

/** The check that results from a probe; parts that were not asked stay as they were. */
function statusOf(outcome: ProbeResult["outcome"], phase: ReplicaPhase, isUndecided: boolean): HealthStatus {
  switch (outcome) {
    case "ANSWERED":
      return "HEALTHY";
    case "FAILED":
      return isUndecided ? "UNKNOWN" : "UNHEALTHY";
    case "BUSY":
      return phase === "READY" ? "HEALTHY" : phase === "UNHEALTHY" ? "UNHEALTHY" : "UNKNOWN";
  }
}

export function whyOf({ detail, words }: ProbeResult): Reason {
  return { reason: detail ?? "It did not answer.", words };
}
