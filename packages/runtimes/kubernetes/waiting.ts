import { setTimeout as delay } from "node:timers/promises";
import { ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import type { PodState } from "./pod-state.ts";

const LOOK_AGAIN_MS = 250;

/** Waiting for what the watches of a cluster tell. */
export interface Waiting {
  /** They have told something. */
  wake(): void;
  /** @throws what `look` throws, the signal's reason, and UPSTREAM_UNAVAILABLE while the cluster is away */
  until(look: () => boolean | Promise<boolean>, signal?: AbortSignal): Promise<void>;
  /**
   * Until a pod runs or has ended, or `look` answers true. `progress` is told why it waits, and `late` says what took too long, as in "Its pod did not run".
   * @throws as `until` does, with why it never will, or UPSTREAM_UNAVAILABLE where it takes too long
   */
  untilStarted(
    look: () => true | PodState,
    late: string,
    signal: AbortSignal | undefined,
    progress: (reason: string) => void,
  ): Promise<void>;
}

export function createWaiting(options: {
  fresh: () => Promise<void>;
  startTimeoutMs: number;
  now: () => number;
}): Waiting {
  const { fresh, startTimeoutMs, now } = options;
  let change = Promise.withResolvers<void>();

  async function until(look: () => boolean | Promise<boolean>, signal?: AbortSignal): Promise<void> {
    for (;;) {
      const { promise } = change;
      signal?.throwIfAborted();
      await fresh();
      if (await look()) return;
      const timer = new AbortController();
      await Promise.race([promise, delay(LOOK_AGAIN_MS, undefined, { signal: timer.signal }).catch(() => undefined)]);
      timer.abort();
    }
  }

  return {
    wake() {
      change.resolve();
      change = Promise.withResolvers();
    },
    until,
    async untilStarted(look, late, signal, progress) {
      const giveUp = now() + startTimeoutMs;
      let told: string | null = null;
      await until(() => {
        const state = look();
        if (state === true || state.phase !== "WAITING") return true;
        if (state.refusal) throw state.refusal;
        if (now() >= giveUp) {
          const what = `${late} within ${Math.round(startTimeoutMs / 1_000)} s.`;
          throw new ToolyardError("UPSTREAM_UNAVAILABLE", [what, state.reason ?? []].flat().join(" "));
        }
        if (state.reason !== null && state.reason !== told) progress((told = state.reason));
        return false;
      }, signal);
    },
  };
}
