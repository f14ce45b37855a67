/**
 * Says "look again", at most once for each wake and perhaps not at all: the event logs are the truth, and followers also
 * poll now and then.
 */
export interface WakeUpBus {
  /** Whether every writer to the logs wakes it: followers then poll only to be safe. */
  readonly reachesAllWriters: boolean;
  wake(topic: string): void;
  /** Returns unsubscribe. */
  onWake(topic: string, listener: () => void): () => void;
}

/** The bus within one process. `isOnlyWriter`: no other process writes to the same files. */
export function createInProcessBus(options: { isOnlyWriter?: boolean } = {}): WakeUpBus {
  const listeners = new Map<string, Set<() => void>>();
  return {
    reachesAllWriters: options.isOnlyWriter ?? false,
    wake(topic) {
      for (const listener of listeners.get(topic) ?? []) listener();
    },
    onWake(topic, listener) {
      const set = listeners.get(topic) ?? new Set();
      listeners.set(topic, set);
      set.add(listener);
      return () => {
        set.delete(listener);
        if (set.size === 0 && listeners.get(topic) === set) listeners.delete(topic);
      };
    },
  };
}
