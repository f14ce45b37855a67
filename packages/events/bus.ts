/**
 * Says "look again", at most once for each wake and perhaps not at all: the event logs are the truth, and those who wait also
 * look by themselves now and then.
 */
export interface WakeUpBus {
  wake(topic: string): void;
  /** Returns unsubscribe. */
  onWake(topic: string, listener: () => void): () => void;
}

/** The bus within one process. */
export function createInProcessBus(): WakeUpBus {
  const listeners = new Map<string, Set<() => void>>();
  return {
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
