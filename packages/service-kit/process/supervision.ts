import type { ProcessLifetime } from "./process-lifetime.ts";

/** The process that started this one and starts it again when it ends, where there is one. */
export interface Supervision {
  /** Whether that process is gone without having ended this one. */
  readonly isOrphaned: boolean;
  /** Tells it that this process serves. @param facts What it needs to know besides, as JSON */
  ready(facts?: object): void;
}

/** Nothing outlives its supervisor, even when that was killed: the channel between the two is closed then, and this process ends. */
export function followSupervisor(lifetime: Pick<ProcessLifetime, "stop">): Supervision {
  let isOrphaned = false;
  const stop = (): void => {
    isOrphaned = true;
    lifetime.stop();
  };
  if (process.send) {
    process.once("disconnect", stop);
    if (!process.connected) stop();
  }
  return {
    get isOrphaned() {
      return isOrphaned;
    },
    ready: (facts = {}) => void process.send?.(facts),
  };
}
