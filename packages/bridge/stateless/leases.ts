import { Unavailable } from "../child/pool.ts";
import type { SharedChild } from "../shared-child.ts";

/**
 * Which child a request without a session gets. Children stand in groups: those of one caller and one set of client
 * capabilities, or everybody's. A request during which the server may ask questions has a child to itself while
 * it runs, so that the server's questions and log lines can only be about this request.
 */
export interface Leases {
  /**
   * Waits for a free child of that group, starting one if there is room.
   * @throws Unavailable when that takes too long, too many wait already, or a start failed.
   */
  take(want: Want): Promise<Lease>;
  /** A call in it ended: it may be free now. */
  freed(child: SharedChild): void;
  /** It ended, or belongs to another session now. */
  remove(child: SharedChild): void;
  /** Ends it; nothing is given to it from now on. */
  retire(child: SharedChild): void;
  find(key: string): SharedChild | undefined;
  /** Whether a child of that id is in the group. */
  has(key: string, childId: string): boolean;
  all(): SharedChild[];
  sweep(now: number, idleMs: number): void;
  close(): void;
}

export interface GroupName {
  key: string;
  /** The owner of the children; null: everybody's. */
  caller: string | null;
}

export interface Want {
  group: GroupName;
  start: () => Promise<SharedChild>;
  /** No other call may run in the child meanwhile. */
  alone: boolean;
  /** The child that runs the call which this continues, if it still runs. */
  childId?: string | undefined;
  /** Null: as long as it takes. */
  waitMs: number | null;
  /** Calls back when the request is no longer wanted. */
  whenGone?: ((listener: () => void) => void) | undefined;
}

/** A child that is reserved for a request until that has been passed on to it. */
export interface Lease {
  readonly child: SharedChild;
  release(): void;
}

interface Waiter extends Want {
  resolve: (lease: Lease) => void;
  reject: (error: Unavailable) => void;
  timer: NodeJS.Timeout | null;
}

interface Group extends GroupName {
  readonly members: Set<SharedChild>;
  readonly waiting: Set<Waiter>;
  starting: number;
}

/** Children of one caller, and requests of one that wait for a child. */
const MAX_OF_CALLER = 16;
const MAX_WAITING = 64;
/** A child used so recently will be used again soon, so it is not closed for another. */
const KEEP_MS = 30_000;

export function createLeases(options: {
  now: () => number;
  maxChildren: number;
  /** Never closed for another, nor for being idle. */
  isKept: (child: SharedChild) => boolean;
}): Leases {
  const { now, maxChildren, isKept } = options;
  const ofCaller = Math.min(MAX_OF_CALLER, Math.ceil(maxChildren / 4));
  const groups = new Map<string, Group>();
  const groupOf = new Map<SharedChild, Group>();
  let closed = false;

  function groupFor({ key, caller }: GroupName): Group {
    const group = groups.get(key) ?? { key, caller, members: new Set(), waiting: new Set(), starting: 0 };
    groups.set(key, group);
    return group;
  }

  function forgetIfEmpty(group: Group): void {
    if (group.members.size === 0 && group.waiting.size === 0 && group.starting === 0) groups.delete(group.key);
  }

  function isIdle(child: SharedChild): boolean {
    return child.peer.open.size === 0 && child.reserved === 0;
  }

  function free(group: Group, { alone, childId }: Want): SharedChild | null {
    let best: SharedChild | null = null;
    for (const child of group.members) {
      if (!isIdle(child) && (alone || child.alone)) {
        if (child.id === childId) return null;
        continue;
      }
      if (child.id === childId) return child;
      // A child with listeners for changes is preferred, so that they see them; otherwise the one used last.
      const better =
        best === null ||
        (child.listeners.size > 0 ? 1 : 0) - (best.listeners.size > 0 ? 1 : 0) > 0 ||
        (child.listeners.size > 0 === best.listeners.size > 0 && child.lastActiveAt > best.lastActiveAt);
      if (better) best = child;
    }
    return best;
  }

  function count(caller: string | null): number {
    let children = 0;
    for (const group of groups.values())
      if (caller === null || group.caller === caller) children += group.members.size + group.starting;
    return children;
  }

  /** Closes the one that was idle longest, of this caller or of all. */
  function evict(caller: string | null): boolean {
    let idlest: SharedChild | null = null;
    for (const [child, group] of groupOf) {
      if ((caller !== null && group.caller !== caller) || isKept(child) || !isIdle(child)) continue;
      if (child.listeners.size > 0 || now() - child.lastActiveAt < KEEP_MS) continue;
      if (idlest === null || child.lastActiveAt < idlest.lastActiveAt) idlest = child;
    }
    if (idlest === null) return false;
    drop(idlest);
    void idlest.peer.child.close();
    return true;
  }

  function hasRoom({ caller }: Group): boolean {
    if (closed) return false;
    if (caller !== null && count(caller) >= ofCaller && !evict(caller)) return false;
    return count(null) < maxChildren || evict(null);
  }

  function lease(child: SharedChild, alone: boolean): Lease {
    child.alone = alone;
    child.reserved += 1;
    child.lastActiveAt = now();
    let released = false;
    return {
      child,
      release() {
        if (released) return;
        released = true;
        child.reserved -= 1;
        freed(child);
      },
    };
  }

  function settle(group: Group, waiter: Waiter): void {
    group.waiting.delete(waiter);
    if (waiter.timer !== null) clearTimeout(waiter.timer);
  }

  function start(group: Group, begin: Want["start"]): void {
    group.starting += 1;
    begin().then(
      (child) => {
        group.starting -= 1;
        add(group, child);
      },
      (error: unknown) => {
        group.starting -= 1;
        const refusal = error instanceof Unavailable ? error : new Unavailable(String(error), 1);
        for (const waiter of group.waiting) {
          settle(group, waiter);
          waiter.reject(refusal);
        }
        forgetIfEmpty(group);
        pumpAll();
      },
    );
  }

  function pump(group: Group): void {
    let needed = 0;
    let begin: Want["start"] | null = null;
    for (const waiter of group.waiting) {
      const child = free(group, waiter);
      if (child !== null) {
        settle(group, waiter);
        waiter.resolve(lease(child, waiter.alone));
        continue;
      }
      const waitsForOne = [...group.members].some(({ id }) => id === waiter.childId);
      if (waitsForOne) continue;
      // Requests that need no child to themselves can share one.
      needed += waiter.alone || needed === 0 ? 1 : 0;
      begin = waiter.start;
    }
    while (begin !== null && needed > group.starting && hasRoom(group)) start(group, begin);
  }

  function pumpAll(): void {
    for (const group of groups.values()) if (group.waiting.size > 0) pump(group);
  }

  function add(name: GroupName, child: SharedChild): void {
    const group = groupFor(name);
    group.members.add(child);
    groupOf.set(child, group);
    pump(group);
  }

  function drop(child: SharedChild): void {
    const group = groupOf.get(child);
    if (group === undefined) return;
    groupOf.delete(child);
    group.members.delete(child);
    forgetIfEmpty(group);
  }

  function remove(child: SharedChild): void {
    drop(child);
    pumpAll();
  }

  function retire(child: SharedChild): void {
    remove(child);
    void child.peer.child.close();
  }

  function freed(child: SharedChild): void {
    const group = groupOf.get(child);
    if (group === undefined || !isIdle(child)) return;
    child.lastActiveAt = now();
    // It may still ask or log for a call that was given up: that must not be attributed to the next one.
    if (child.askedLate || (child.alone && child.peer.cancelled)) return retire(child);
    child.alone = false;
    pumpAll();
  }

  function refusal(group: Group): Unavailable {
    if (group.members.size === 0 && group.starting > 0)
      return new Unavailable("the server is still starting: it has not answered initialize yet", 2);
    return new Unavailable(
      `all servers that may be started for this caller are busy (${group.members.size} for clients of these capabilities, ` +
        `at most ${ofCaller} for one caller, ${maxChildren} for all); try again, or use a session`,
      2,
    );
  }

  return {
    take(want) {
      const group = groupFor(want.group);
      const child = free(group, want);
      if (child !== null) return Promise.resolve(lease(child, want.alone));
      let waiting = 0;
      for (const other of groups.values()) if (other.caller === group.caller) waiting += other.waiting.size;
      if (waiting >= MAX_WAITING)
        return Promise.reject(
          new Unavailable(`${waiting} requests of this caller wait for a server already; try again`, 2),
        );
      return new Promise((resolve, reject) => {
        const waiter: Waiter = { ...want, resolve, reject, timer: null };
        if (want.waitMs !== null) {
          waiter.timer = setTimeout(() => {
            group.waiting.delete(waiter);
            reject(refusal(group));
            forgetIfEmpty(group);
          }, want.waitMs);
        }
        group.waiting.add(waiter);
        want.whenGone?.(() => {
          if (!group.waiting.has(waiter)) return;
          settle(group, waiter);
          reject(new Unavailable("the client went away", 1));
          forgetIfEmpty(group);
        });
        pump(group);
      });
    },
    freed,
    remove,
    retire,
    find(key) {
      for (const child of groups.get(key)?.members ?? []) return child;
      return undefined;
    },
    has(key, childId) {
      for (const child of groups.get(key)?.members ?? []) if (child.id === childId) return true;
      return false;
    },
    all: () => [...groupOf.keys()],
    sweep(at, idleMs) {
      for (const child of groupOf.keys()) {
        if (isKept(child) || !isIdle(child) || child.listeners.size > 0) continue;
        if (at - child.lastActiveAt > idleMs) retire(child);
      }
      pumpAll();
    },
    close() {
      closed = true;
      for (const group of groups.values()) {
        for (const waiter of group.waiting) {
          settle(group, waiter);
          waiter.reject(new Unavailable("the bridge is shutting down", 1));
        }
      }
    },
  };
}
