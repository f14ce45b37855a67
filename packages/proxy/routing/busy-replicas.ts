import type { Replica } from "./replica.ts";

/**
 * Tells the control plane which replicas have silent calls within their time limit: an unanswered probe of such a replica proves
 * nothing. And which have calls though they left the routes: they are stopped once those have ended. Bridges know both of their servers
 * themselves; for other servers, this is the only source.
 */
export interface BusyReplicas {
  /** @param timeoutMs The call's time, until its first byte and between bytes */
  began(replica: Replica, timeoutMs: number): void;
  /** Notes that bytes of its answer came. */
  heard(replica: Replica): void;
  /** @param isAnswered Whether it ended by an answer; else the server may still work on it, unaware that its client has left. */
  ended(replica: Replica, isAnswered: boolean): void;
  /** Notes that it left the routes. */
  left(replica: Replica): void;
  close(): void;
}

interface Debt {
  calls: number;
  /** Since when it has calls without any answer; newer calls do not change that, or a hanging server would be excused for ever. */
  silentSince: number | null;
  timeoutMs: number;
}

const INTERVAL_MS = 1_000;
/** Of those that wait to be stopped. */
const LEFT_INTERVAL_MS = 500;
/** A replica heard from lately answers probes, too. */
const SILENT_MS = 250;

export function createBusyReplicas(options: {
  /** The callback handles its own failures: the next report comes soon. */
  report: (replicaIds: string[]) => void;
  now: () => number;
}): BusyReplicas {
  const { report, now } = options;
  const debts = new Map<Replica, Debt>();
  const leaving = new Set<Replica>();
  let timer: NodeJS.Timeout | null = null;

  /** Of calls that nobody waits for any more: their time has passed. */
  const isOver = ({ calls, silentSince, timeoutMs }: Debt): boolean =>
    calls === 0 && (silentSince === null || now() - silentSince >= timeoutMs);

  function look(): void {
    timer = null;
    const busy: string[] = [];
    for (const [replica, debt] of debts) {
      const { silentSince, timeoutMs } = debt;
      const silentMs = silentSince === null ? 0 : now() - silentSince;
      if (isOver(debt)) debts.delete(replica);
      else if (!leaving.has(replica) && silentMs >= SILENT_MS && silentMs < timeoutMs) busy.push(replica.id);
    }
    for (const replica of leaving) {
      if (replica.owed === 0) leaving.delete(replica);
      else busy.push(replica.id);
    }
    if (busy.length > 0) report(busy);
    // Without calls, nothing wakes the machine.
    if (debts.size > 0 || leaving.size > 0)
      timer = setTimeout(look, leaving.size > 0 ? LEFT_INTERVAL_MS : INTERVAL_MS).unref();
  }

  return {
    began(replica, timeoutMs) {
      const before = debts.get(replica);
      const debt = before && !isOver(before) ? before : { calls: 0, silentSince: null, timeoutMs };
      debt.calls += 1;
      debt.silentSince ??= now();
      debt.timeoutMs = timeoutMs;
      debts.set(replica, debt);
      timer ??= setTimeout(look, INTERVAL_MS).unref();
    },
    heard(replica) {
      const debt = debts.get(replica);
      if (debt) debt.silentSince = debt.calls > 0 ? now() : null;
    },
    ended(replica, isAnswered) {
      const debt = debts.get(replica);
      if (!debt) return;
      debt.calls -= 1;
      if (debt.calls === 0 && isAnswered) debt.silentSince = null;
    },
    left(replica) {
      if (replica.legacy === null || replica.owed === 0) return;
      leaving.add(replica);
      // Those that leave with one change are reported together.
      if (timer !== null) clearTimeout(timer);
      timer = setTimeout(look, 0).unref();
    },
    close() {
      if (timer !== null) clearTimeout(timer);
      timer = null;
      debts.clear();
      leaving.clear();
    },
  };
}
