/** The members of an AbortSignal that are used here. An AbortSignal is one. */
export interface AbortSignalLike {
  readonly aborted: boolean;
  /** The reason, once it is aborted. */
  readonly reason: unknown;
  addEventListener(type: "abort", listener: () => void, options?: { once: true }): void;
  removeEventListener(type: "abort", listener: () => void): void;
}

/** A signal, and the means to abort it. */
export interface LightAbort {
  readonly signal: AbortSignalLike;
  /** Once: later calls do nothing. */
  abort(reason: unknown): void;
}

/**
 * An AbortController for signals made several times in each request: the platform's, with its events and weak references, takes many
 * times as long. Listeners are called once.
 */
export function createLightAbort(): LightAbort {
  let listeners: (() => void)[] = [];
  const signal = {
    aborted: false,
    reason: undefined as unknown,
    addEventListener(_type: "abort", listener: () => void) {
      if (!signal.aborted) listeners.push(listener);
    },
    removeEventListener(_type: "abort", listener: () => void) {
      const at = listeners.indexOf(listener);
      if (at >= 0) listeners.splice(at, 1);
    },
  };
  return {
    signal,
    abort(reason) {
      if (signal.aborted) return;
      signal.aborted = true;
      signal.reason = reason;
      const told = listeners;
      listeners = [];
      for (const listener of told) listener();
    },
  };
}
