import { setTimeout as delay } from "node:timers/promises";
import type { Deployment, Replica } from "../deployment.ts";
import type { Reason } from "../reason.ts";
import { NOT_YET } from "./probe-failure.ts";
import type { ProbeResult } from "./probe.ts";
import { LAST_LINE, withAdvice } from "./process-end.ts";
import { whyOf, type ReplicaChecks } from "./replica-checks.ts";
import { ignoreAbort, type ReplicaContext, type ReplicaJob } from "./replica-context.ts";
import { startupProbeDelayMs } from "./startup-probe-delay.ts";

/** How often the reason of a slow start is updated with the server's last output. */
const NEWS_INTERVAL_MS = 2_000;
const START_TIMEOUT = "startTimeoutSeconds";
/** The last startup probe before the deadline may be late. */
const MIN_GREETING_SECONDS = 1;

/** Waits for the first answer of a replica that starts: READY with it, or what it said until its time was up. */
export function createFirstAnswer(context: ReplicaContext, { callAs, toCheck, noteReady }: ReplicaChecks): ReplicaJob {
  const { now, random, isGone, apply, update, hidden, lastOutputOf } = context;

  function heardOf(deployment: Deployment, replica: Replica, result: ProbeResult): Reason {
    const { reason, words } = hidden(deployment, replica, whyOf(result));
    return { reason: withAdvice(reason, deployment, words === null ? [] : [words]), words };
  }

  /** The words of a server that has not answered well yet: of its answer, if it gave one, and its last output. */
  async function wordsOf(deployment: Deployment, replica: Replica, heard: Reason): Promise<string | null> {
    const printed = await lastOutputOf(deployment, replica);
    // Its output may be the same as the words of its answer.
    const isTold = printed !== null && heard.words?.endsWith(printed.slice(LAST_LINE.length)) === true;
    const words = [heard.words, isTold ? null : printed].filter((part) => part !== null);
    return words.length === 0 ? null : words.join(" ");
  }

  /** Puts these words into the reason of a slow starter. */
  async function tellNews(deployment: Deployment, replica: Replica, result: ProbeResult): Promise<void> {
    const heard = heardOf(deployment, replica, result);
    const printed = await wordsOf(deployment, replica, heard);
    const set = ({ state, attempts }: Replica): Partial<Replica> => {
      if (state.phase !== "STARTING") return {};
      // Silence is no news after a failed start.
      const isSilent = attempts > 0 && showsNothing(deployment, result);
      const reason = (isSilent ? state.reason : null) ?? heard.reason;
      const words = printed ?? (isSilent ? state.words : null) ?? null;
      return state.words === words && state.reason === reason ? {} : { state: { ...state, reason, words } };
    };
    await update(replica, set);
  }

  return async function awaitAnswer({ deployment }, replica, signal) {
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
        const ready = await apply(replica, { type: "answered" }, { set: () => ({ lastProbeAt: check.at }), check });
        if (ready) noteReady(ready.deployment, replica);
        return;
      }
      if (result.hopeless || now() >= deadline) {
        const heard = heardOf(deployment, replica, result);
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
        await tellNews(deployment, replica, result);
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
  };
}

/** Whether a server that was started here may only need more time, as far as can be seen. */
function showsNothing({ launch }: Deployment, { startupFailure, words }: ProbeResult): boolean {
  return launch.kind !== "remote" && startupFailure === "ABSENT" && words === null;
}

/** The reason of a start whose time is up. */
function lateReason(seconds: number, heard: string, { startupFailure, late }: ProbeResult): string {
  // The last startup probe had only the remaining time, so its time-out tells nothing.
  const isSilent = heard.startsWith(NOT_YET) || late?.setting === START_TIMEOUT;
  const inTime = `within ${seconds} s of its start (${START_TIMEOUT}).`;
  if (isSilent) return `It did not answer ${inTime}`;
  return `It did not answer${startupFailure === "REFUSED" ? " as it should" : ""} ${inTime} ${heard}`;
}
