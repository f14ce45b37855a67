/** A bound on what is held at once, such as bytes of bodies and answers, so that many large ones do not fill the memory. */
export interface Budget {
  /** False when there is no room for that much more. */
  take(amount: number): boolean;
  give(amount: number): void;
}

export function createBudget(max: number): Budget {
  let held = 0;
  return {
    take(amount) {
      if (held + amount > max) return false;
      held += amount;
      return true;
    },
    give(amount) {
      held -= amount;
    },
  };
}

/** A budget for all callers together, of which each has at most a share. */
export interface SharedBudget {
  of(subject: string): Budget;
}

/** The share of one caller: others find room while somebody holds as much as they may. */
const SHARE = 1 / 4;

export function createSharedBudget(max: number): SharedBudget {
  const all = createBudget(max);
  const shares = new Map<string, number>();
  return {
    of: (subject) => ({
      take(amount) {
        const own = (shares.get(subject) ?? 0) + amount;
        if (own > max * SHARE || !all.take(amount)) return false;
        shares.set(subject, own);
        return true;
      },
      give(amount) {
        all.give(amount);
        const left = (shares.get(subject) ?? 0) - amount;
        if (left > 0) shares.set(subject, left);
        else shares.delete(subject);
      },
    }),
  };
}
