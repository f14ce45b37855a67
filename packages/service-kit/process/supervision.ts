import type { ProcessLifetime } from "./process-lifetime.ts";

/** The process that started this one and starts it again when it ends, where there is one. */
export interface Supervision {
  /** Whether that process is gone without having ended this one. */
  readonly isOrphaned: boolean;
  /** Whether that process ends as well, so that nobody starts this one again. */
  readonly isOver: boolean;
  /** Tells it that this process serves. @param facts What it needs to know besides, as JSON */
  ready(facts?: object): void;
}

/** What a supervisor sends before it ends a process for good. */
export const OVER = "over";

/** Nothing outlives its supervisor, even when that was killed: the channel between the two is closed then, and this process ends. */
export function followSupervisor(lifetime: Pick<ProcessLifetime, "stop">): Supervision {
  let isOrphaned = false;
  let isOver = false;
  const stop = (): void => {
    isOrphaned = true;
    lifetime.stop();
  };
  if (process.send) {
    process.on("message", (message) => {
      isOver ||= message === OVER;
    });
    process.once("disconnect", stop);
    if (!process.connected) stop();
  }
  return {
    get isOrphaned() {
      return isOrphaned;
    },
    get isOver() {
      return isOver || isOrphaned;
    },
    ready: (facts = {}) => void process.send?.(facts),
  };
}
