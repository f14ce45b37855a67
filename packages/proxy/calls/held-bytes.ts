/** The budget for all bodies and answers held at once, so that many large ones do not fill the memory. */
export interface HeldBytes {
  /** False when there is no room for that many more. */
  take(bytes: number): boolean;
  give(bytes: number): void;
}

export function createHeldBytes(maxBytes: number): HeldBytes {
  let held = 0;
  return {
    take(bytes) {
      if (held + bytes > maxBytes) return false;
      held += bytes;
      return true;
    },
    give(bytes) {
      held -= bytes;
    },
  };
}
