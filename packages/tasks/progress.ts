/** Passes on the newest of frequent reports at most once in `intervalMs`, the first at once. */
export interface ProgressReporter {
  report(progress: number, message: string | null): void;
  /** Drops progress that is not yet passed on. */
  stop(): void;
}

export function createProgressReporter(options: {
  write: (progress: number, message: string | null) => Promise<void>;
  intervalMs: number;
}): ProgressReporter {
  const { write, intervalMs } = options;
  let pending: { progress: number; message: string | null } | null = null;
  let timer: NodeJS.Timeout | null = null;
  let stopped = false;

  function pass(): void {
    timer = null;
    if (!pending || stopped) return;
    const { progress, message } = pending;
    pending = null;
    timer = setTimeout(pass, intervalMs);
    timer.unref();
    void write(progress, message);
  }

  return {
    report(progress, message) {
      if (stopped) return;
      // NaN counts as no progress.
      pending = { progress: Math.min(1, Math.max(0, progress || 0)), message };
      if (!timer) pass();
    },
    stop() {
      stopped = true;
      if (timer) clearTimeout(timer);
      timer = null;
    },
  };
}
