import { setTimeout as delay } from "node:timers/promises";
import type { ReplicaHandle, Runtime, RuntimeKind } from "@toolyard/runtimes/runtime.ts";
import { newId, ToolyardError, type Logger, type Sealer } from "@toolyard/service-kit";
import {
  processNameOf,
  type AfterStop,
  type Deployment,
  type HealthCheck,
  type HealthStatus,
  type Replica,
  type ReplicaPhase,
} from "../deployment.ts";
import type { DeploymentRecord } from "../store/deployment-store.ts";
import { TOLD_WITHIN_MS } from "../busy-replicas.ts";
import { calleeOf } from "../deploying/callee.ts";
import { openHeaders, openLaunch, openUrl, resourcesOf, whyUnopened } from "../deploying/launch-opening.ts";
import { readable } from "../deploying/deployed-launch.ts";
import type { KnownSecrets } from "../logs/known-secrets.ts";
import { newToken } from "../deploying/new-replica.ts";
import type { Reason } from "../reason.ts";
import type { ListedNames } from "../usage/listed-names.ts";
import { startupProbeDelayMs } from "./startup-probe-delay.ts";
import type { Reap } from "./reaper.ts";
import { describeEnd, LAST_LINE, lastOutput } from "./process-end.ts";
import { portsFor, type PortAllocator } from "./ports.ts";
import { NOT_YET } from "./probe-failure.ts";
import type { Limit } from "./probe-limit.ts";
import type { Prober, ProbeResult, ProbeTarget } from "./probe.ts";
import type { QuietProbes } from "./quiet-probes.ts";
import type { ReplicaChanges } from "./replica-changes.ts";
import type { ReplicaEvent } from "./transitions.ts";

/** The work on one replica: each piece runs to its end or until `signal` aborts, and writes its outcome. */
export interface ReplicaWork {
  /** Starts its process, or finds the one that an interrupted start left; then waits for the first answer. */
  start(record: DeploymentRecord, replica: Replica, signal: AbortSignal): Promise<void>;
  awaitAnswer(record: DeploymentRecord, replica: Replica, signal: AbortSignal): Promise<void>;
  /** One call now, recorded. Answers a check that changes nothing, which is written later together with those of others. */
  probe(record: DeploymentRecord, replica: Replica, signal: AbortSignal): Promise<HealthCheck | null>;
  /** The same for a waiting caller: recorded at once. Null when the replica has changed meanwhile. @param atMost As of a probe */
  check(record: DeploymentRecord, replica: Replica, signal: AbortSignal, atMost: Limit): Promise<HealthCheck | null>;
  /** Records that its process ended by itself. */
  reap(record: DeploymentRecord, replica: Replica): Promise<void>;
  stop(record: DeploymentRecord, replica: Replica, then: AfterStop, reason: string): Promise<void>;
  reset(record: DeploymentRecord, replica: Replica): Promise<void>;
}

export interface ReplicaWorkOptions {
  changes: ReplicaChanges;
  runtimes: ReadonlyMap<RuntimeKind, Runtime>;
  prober: Prober;
  ports: PortAllocator;
  sealer: Sealer;
  secrets: KnownSecrets;
  reap: Reap;
  isBusy: (replicaId: string) => boolean;
  /** Receives the tools that servers list. */
  listed: Pick<ListedNames, "note">;
  quietProbes: Pick<QuietProbes, "note">;
  logger: Logger;
  now: () => number;
  random: () => number;
  /** Whether the process is known to be gone. */
  isGone: (handle: ReplicaHandle) => boolean;
  /** From leaving the route to SIGTERM: proxies learn of the change meanwhile, so that no call reaches a closed port. */
  drainMs: number;
  /** From SIGTERM to SIGKILL. */
  graceMs: number;
}

/** How often the reason of a slow start is updated with the server's last output. */
const NEWS_INTERVAL_MS = 2_000;
const START_TIMEOUT = "startTimeoutSeconds";
/** The last startup probe before the deadline may be late. */
const MIN_GREETING_SECONDS = 1;
const LONGEST_WORDS = 1_000;
/** The bridge's exit code for a launch that cannot be run (EX_CONFIG of sysexits.h). */
const EXIT_CONFIG = 78;

export function createReplicaWork(options: ReplicaWorkOptions): ReplicaWork {
  const { changes, runtimes, prober, ports, sealer, secrets, reap, isBusy, listed, quietProbes, logger } = options;
  const { now, random, isGone, drainMs, graceMs } = options;

  function runtimeOf(deployment: Deployment): Runtime | null {
    if (deployment.runtime === "REMOTE") return null;
    const runtime = runtimes.get(deployment.runtime);
    if (!runtime)
      throw new ToolyardError("BAD_USER_INPUT", `The runtime ${deployment.runtime} is not available here any more.`);
    return runtime;
  }

  const apply = (
    replica: Replica,
    event: ReplicaEvent,
    more: { set?: (replica: Replica) => Partial<Replica>; check?: HealthCheck } = {},
  ) =>
    changes.apply({
      deploymentId: replica.deploymentId,
      replicaId: replica.id,
      incarnation: replica.incarnation,
      event,
      ...more,
    });

  function targetOf(deployment: Deployment, replica: Replica): ProbeTarget {
    return {
      ...calleeOf(deployment, replica, sealer),
      launch: readable(deployment.launch),
      mcpUrl: openUrl(deployment, sealer),
      headers: openHeaders(deployment, sealer),
      handle: replica.handle,
    };
  }

  /** A call of the replica; a call that cannot be made, since a sealed value does not open, has failed for good. */
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

  /** A port on which nothing listens: its own, or another when a foreign process took that. */
  async function securePort(
    replica: Replica,
    begin: (port: number) => Promise<DeploymentRecord | null>,
  ): Promise<DeploymentRecord | null> {
    if (replica.port !== null && (await ports.isFree(replica.port))) return begin(replica.port);
    return ports.reserve(1, async ([port]) => (port === undefined ? null : begin(port)));
  }

  const current = (record: DeploymentRecord | null, replica: Replica) =>
    record?.replicas.find(({ id }) => id === replica.id) ?? null;

  /** PENDING or BACKOFF to STARTING. Null when it is neither any more. */
  async function begin({ deployment }: DeploymentRecord, replica: Replica): Promise<DeploymentRecord | null> {
    const forgotten = replica.previousHandle;
    const enter = (port: number | null) =>
      apply(
        replica,
        { type: "start", generation: deployment.generation },
        {
          set: () => ({
            port,
            // A leaked token of an earlier process is of no use with this one.
            sealedToken: newToken(sealer, replica.id),
            handle: null,
            previousHandle: replica.handle,
            startedAt: now(),
            lastProbeAt: null,
          }),
        },
      );
    const takesPort = portsFor(1, deployment, runtimes.values(), replica.address) > 0;
    const record = takesPort ? await securePort(replica, enter) : await enter(null);
    if (record && forgotten) await reap(deployment, replica, forgotten);
    return record;
  }

  async function launchProcess(
    record: DeploymentRecord,
    replica: Replica,
    signal: AbortSignal,
  ): Promise<Replica | null> {
    const { deployment } = record;
    const runtime = runtimeOf(deployment);
    const launch = openLaunch(deployment, sealer);
    if (!runtime || !launch) return replica;
    const handle = await runtime.start(
      {
        replicaId: replica.id,
        deploymentId: deployment.id,
        userId: deployment.ownerId ?? deployment.id,
        name: processNameOf(deployment, replica),
        launch,
        host: replica.address,
        port: replica.port,
        token: sealer.open(replica.sealedToken, replica.id),
        secrets: secrets.of(deployment, replica),
        resources: resourcesOf(deployment.launch),
      },
      signal,
    );
    const { id: replicaId, deploymentId, incarnation } = replica;
    const saved = await changes.update({ deploymentId, replicaId, incarnation, set: () => ({ handle }) });
    if (saved) return current(saved, replica);
    // Its row was deleted while it was started: nobody wants it.
    await runtime.stop(handle, graceMs);
    return null;
  }

  /** A reason without the replica's secrets: no words of a server are written before this. */
  function hidden(deployment: Deployment, replica: Replica, { reason, words }: Reason): Reason {
    const { text } = secrets.mask(deployment, replica);
    return { reason: text(reason), words: words === null ? null : text(words).slice(0, LONGEST_WORDS) };
  }

  const lastOutputOf = (deployment: Deployment, replica: Replica): Promise<string | null> =>
    lastOutput(runtimeOf(deployment), replica.handle, (text) => secrets.mask(deployment, replica).text(text));

  /** The words of a server that has not answered well yet: of its answer, if it gave one, and its last output. */
  async function wordsOf(deployment: Deployment, replica: Replica, heard: Reason): Promise<string | null> {
    const printed = await lastOutputOf(deployment, replica);
    // Its output may be the same as the words of its answer.
    const isTold = printed !== null && heard.words?.endsWith(printed.slice(LAST_LINE.length)) === true;
    const words = [heard.words, isTold ? null : printed].filter((part) => part !== null);
    return words.length === 0 ? null : words.join(" ");
  }

  /** Puts these words into the reason of a slow starter. */
  async function tellNews(deployment: Deployment, replica: Replica, heard: Reason): Promise<void> {
    const printed = await wordsOf(deployment, replica, heard);
    const { id: replicaId, deploymentId, incarnation } = replica;
    const set = ({ state, attempts }: Replica): Partial<Replica> => {
      if (state.phase !== "STARTING") return {};
      // Silence is no news after a failed start.
      const isSilent = attempts > 0 && heard.reason.startsWith(NOT_YET);
      const reason = (isSilent ? state.reason : null) ?? heard.reason;
      const words = printed ?? (isSilent ? state.words : null) ?? null;
      return state.words === words && state.reason === reason ? {} : { state: { ...state, reason, words } };
    };
    await changes.update({ deploymentId, replicaId, incarnation, set });
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
    if (event !== null && (await apply(replica, event, { set, check }))) return check;
    const { id: replicaId, deploymentId, incarnation } = replica;
    return (await changes.update({ deploymentId, replicaId, incarnation, set, check })) ? check : null;
  }

  const work: ReplicaWork = {
    async start(given, replica, signal) {
      let record: DeploymentRecord | null = given;
      let starting: Replica | null = replica;
      try {
        if (replica.state.phase !== "STARTING") {
          record = await begin(given, replica);
          starting = current(record, replica);
        }
        if (!record || !starting) return;
        const running = await launchProcess(record, starting, signal);
        if (running && !signal.aborted) await work.awaitAnswer(record, running, signal);
      } catch (error) {
        if (signal.aborted) return; // The code that aborted this work stops the process.
        const foreseen = error instanceof ToolyardError;
        const permanent = foreseen && error.code === "BAD_USER_INPUT";
        if (!foreseen) logger.warn({ err: error, deployment: given.deployment.name }, "a replica could not be started");
        const reason = foreseen ? error.message : "It cannot be started; Toolyard's log says why.";
        const why = hidden(given.deployment, replica, { reason, words: null });
        await apply(starting ?? replica, { type: permanent ? "refused" : "ended", ...why });
      }
    },

    async awaitAnswer({ deployment }, replica, signal) {
      if (replica.state.phase !== "STARTING") return;
      const { launch } = deployment;
      const { startTimeoutSeconds, successThreshold } = launch.options.health;
      const deadline = replica.state.since + startTimeoutSeconds * 1_000;
      let successes = 0;
      let failures = 0;
      let last: ProbeResult | null = null;
      let newsAt = now() + NEWS_INTERVAL_MS;
      while (!signal.aborted) {
        const left = Math.max(MIN_GREETING_SECONDS, (deadline - now()) / 1_000);
        const result = await callAs("checkStartup", deployment, replica, signal, {
          seconds: left,
          setting: START_TIMEOUT,
        });
        if (signal.aborted || (replica.handle && isGone(replica.handle))) return;
        successes = result.outcome === "FAILED" ? 0 : successes + 1;
        if (successes >= successThreshold) {
          const check = toCheck(replica, result, "HEALTHY", null);
          await apply(replica, { type: "answered" }, { set: () => ({ lastProbeAt: check.at }), check });
          return;
        }
        if (result.hopeless || now() >= deadline) {
          const heard = hidden(deployment, replica, whyOf(result));
          const why = result.hopeless
            ? heard
            : {
                reason: lateReason(startTimeoutSeconds, heard.reason, result),
                words: await wordsOf(deployment, replica, heard),
              };
          await apply(replica, { type: "silent", ...why }, { check: toCheck(replica, result, "UNHEALTHY", why) });
          return;
        }
        // A refusal, or a server elsewhere, is reported at once; a merely slow start, once that is worth reporting.
        const isFinal = result.startupFailure === "REFUSED" || launch.kind === "remote";
        const isNews = isFinal && result.detail !== last?.detail;
        if (result.outcome === "FAILED" && (isNews || now() >= newsAt)) {
          await tellNews(deployment, replica, hidden(deployment, replica, whyOf(result)));
          newsAt = now() + NEWS_INTERVAL_MS;
        }
        failures = result.startupFailure === last?.startupFailure ? failures + 1 : 1;
        last = result;
        const pause = startupProbeDelayMs(
          launch.kind,
          result.startupFailure ?? "ABSENT",
          failures,
          replica.attempts,
          random(),
        );
        const untilDeadline = Math.max(0, deadline - now());
        await delay(Math.min(pause, untilDeadline), undefined, { signal, ref: false }).catch(ignoreAbort);
      }
    },

    async probe(record, replica, signal) {
      const asked = await ask(record, replica, signal);
      if (asked === null) return null;
      const { check, event } = asked;
      if (event === null) quietProbes.note({ replicaId: replica.id, incarnation: replica.incarnation, check });
      else await conclude(replica, asked);
      return event === null ? check : null;
    },

    async check(record, replica, signal, atMost) {
      const asked = await ask(record, replica, signal, atMost);
      return asked && conclude(replica, asked);
    },

    async reap({ deployment }, replica) {
      const runtime = runtimeOf(deployment);
      if (!runtime || !replica.handle) return;
      const liveness = await runtime.inspect(replica.handle);
      if (liveness.alive) return;
      const why = { reason: describeEnd(replica, liveness, now()), words: await lastOutputOf(deployment, replica) };
      // Its children may have outlived it.
      await runtime.stop(replica.handle, 0);
      const hopeless = deployment.launch.kind === "stdio" && liveness.exitCode === EXIT_CONFIG;
      const check = toCheck(replica, { kind: "process", latencyMs: 0 }, "UNHEALTHY", why);
      await apply(replica, { type: hopeless ? "refused" : "ended", ...why }, { check });
    },

    async stop({ deployment }, replica, then, reason) {
      const runtime = runtimeOf(deployment);
      const { phase } = replica.state;
      // A replica written as gone has left nothing: its folders are removed before its row.
      const forget = async (): Promise<void> => {
        for (const handle of [replica.handle, replica.previousHandle])
          if (handle && runtime) await reap(deployment, replica, handle);
      };
      if (phase === "PENDING" || phase === "BACKOFF" || phase === "FAILED") {
        if (then === "REMOVE") await forget();
        await apply(replica, { type: "stop", then, reason });
      } else {
        const told = await apply(replica, { type: "stop", then, reason });
        const stopping = told ? current(told, replica) : replica;
        if (stopping?.state.phase !== "STOPPING") return; // It has changed meanwhile: decide anew.
        if (phase === "READY" || phase === "UNHEALTHY") await delay(drainMs);
        const handle = runtime && (replica.handle ?? (await findByName(runtime, processNameOf(deployment, replica))));
        if (handle) await runtime.stop(handle, graceMs);
        if (stopping.state.then === "REMOVE") await forget();
        const isOver = await apply(replica, { type: "gone", then: stopping.state.then });
        if (!isOver && stopping.state.then !== "REMOVE") {
          // Meanwhile a final stop was asked for.
          await forget();
          await apply(replica, { type: "gone" });
        }
      }
      if (then === "REMOVE" && replica.port !== null) ports.released(replica.port);
    },

    async reset(_record, replica) {
      await apply(replica, { type: "reset" });
    },
  };

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

  return work;
}

/** The reason of a start whose time is up. */
function lateReason(seconds: number, heard: string, { startupFailure, late }: ProbeResult): string {
  // The last startup probe had only the remaining time, so its time-out tells nothing.
  const isSilent = heard.startsWith(NOT_YET) || late?.setting === START_TIMEOUT;
  const inTime = `within ${seconds} s of its start (${START_TIMEOUT}).`;
  if (isSilent) return `It did not answer ${inTime}`;
  return `It did not answer${startupFailure === "REFUSED" ? " as it should" : ""} ${inTime} ${heard}`;
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

function whyOf({ detail, words }: ProbeResult): Reason {
  return { reason: detail ?? "It did not answer.", words };
}

async function findByName(runtime: Runtime, name: string): Promise<ReplicaHandle | null> {
  const running = await runtime.list();
  return running.find(({ handle }) => handle.name === name)?.handle ?? null;
}

function ignoreAbort(error: unknown): void {
  if (!(error instanceof Error && error.name === "AbortError")) throw error;
}
