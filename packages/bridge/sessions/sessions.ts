import { randomUUID } from "node:crypto";

import type { Exchange } from "../protocol/exchange.ts";
import type { Message } from "../protocol/json-rpc.ts";
import { type Pool, Unavailable } from "../child/pool.ts";
import { createReplayMemory } from "./replay.ts";
import { createSession, type Session, type SessionOptions } from "./session.ts";
import type { SharedChildren } from "../shared-children.ts";

/** The sessions of the older era, and their limits. */
export interface Sessions {
  readonly size: number;
  get(id: string): Session | undefined;
  /**
   * Opens a session for an `initialize` request. When the caller's limit, or that of all, is reached, the session of these that was
   * idle longest, without a call or an open stream, is closed for it.
   *
   * @param caller The caller, as the proxy names them; "" when nobody is named
   * @throws Unavailable when none is idle, or there is no child for it.
   */
  open(initialize: Message, caller: string): Promise<Session>;
  /** Closes it as its client asked, or for another reason. */
  remove(session: Session, reason?: string): void;
  sweep(now: number): void;
  all(): Iterable<Session>;
  keepAlive(write: (exchange: Exchange) => void): void;
  readonly busy: boolean;
  closeAll(reason: string): void;
}

export interface SessionsOptions {
  pool: Pool;
  children: SharedChildren;
  mode: "isolated" | "shared";
  maxSessions: number;
  idleMs: number;
  /** A call without answer or progress for this long fails; the first, which waits for a start, after `startTimeoutSeconds`. */
  timeoutSeconds: number;
  startTimeoutSeconds: number;
  now: () => number;
}

const SHARE_OF_CALLER = 0.75;
const MIN_OF_CALLER = 2;

export function createSessions(options: SessionsOptions): Sessions {
  const { pool, children, mode, maxSessions, idleMs, timeoutSeconds, startTimeoutSeconds, now } = options;
  const sessions = new Map<string, Session>();
  const replayMemory = createReplayMemory({ now });
  /** The callers of sessions that wait for their child. */
  const opening: string[] = [];

  function isIdle(session: Session): boolean {
    return !session.busy && !session.listening;
  }

  function count(caller: string): number {
    let found = opening.filter((other) => other === caller).length;
    for (const session of sessions.values()) if (session.caller === caller) found += 1;
    return found;
  }

  /** Closes the one that was idle longest, of this caller or of all. */
  function closeIdlest(caller: string | null): boolean {
    let idlest: Session | null = null;
    for (const session of sessions.values()) {
      if ((caller !== null && session.caller !== caller) || !isIdle(session)) continue;
      if (idlest === null || session.lastActiveAt < idlest.lastActiveAt) idlest = session;
    }
    if (idlest === null) return false;
    remove(idlest, "the session was closed to make room for another");
    return true;
  }

  /** How many one caller may have: only a part of all, or of those that fit into memory if these are fewer. */
  function most(): number {
    const open = sessions.size + opening.length;
    const all = mode === "shared" ? maxSessions : Math.min(maxSessions, open + pool.room());
    return Math.max(MIN_OF_CALLER, Math.floor(all * SHARE_OF_CALLER));
  }

  function makeRoom(caller: string): void {
    const ofCaller = caller === "" ? Infinity : most();
    if (count(caller) >= ofCaller && !closeIdlest(caller))
      throw new Unavailable(
        `all ${ofCaller} sessions that one caller may have are in use; end one or try again later`,
        5,
      );
    if (sessions.size + opening.length >= maxSessions && !closeIdlest(null))
      throw new Unavailable(`all ${maxSessions} sessions are in use; try again later`, 5);
    if (mode === "isolated" && sessions.size > 0 && pool.room() < 1) closeIdlest(null);
  }

  function remove(session: Session, reason: string): void {
    if (!sessions.delete(session.id)) return;
    session.close(reason);
  }

  async function childFor(initialize: Message, caller: string): Promise<SessionOptions["child"]> {
    pool.admit(caller);
    if (mode === "shared") {
      const nobody = { caller: "", user: "", capabilities: {} };
      const lease = await children.lease({ ...nobody, stateless: false, mayAsk: false, mayLog: false });
      lease.release();
      return { kind: "shared", shared: lease.child };
    }
    // Until the first child has answered, the server's protocol is unknown; and that child may become this session's own.
    if (pool.failure === null) await children.settled();
    const taken = children.surrender(initialize.params);
    if (taken === null) return { kind: "own", child: pool.take(caller) };
    pool.usedBy(taken.peer.child, caller);
    return { kind: "taken", shared: taken };
  }

  return {
    get size() {
      return sessions.size;
    },
    get: (id) => sessions.get(id),
    all: () => sessions.values(),
    async open(initialize, caller) {
      makeRoom(caller);
      opening.push(caller);
      let child: SessionOptions["child"];
      try {
        child = await childFor(initialize, caller);
      } finally {
        opening.splice(opening.indexOf(caller), 1);
      }
      const id = randomUUID();
      const session = createSession({
        id,
        child,
        caller,
        replayMemory,
        now,
        timeoutSeconds,
        startTimeoutSeconds,
        onUse: (used) => children.use(used, caller),
        onReady(ready) {
          if (child.kind === "own") pool.proved(ready);
          if (mode === "isolated") pool.keepSpare();
        },
        onEnd: () => sessions.delete(id),
      });
      sessions.set(id, session);
      return session;
    },
    remove: (session, reason = "the session was closed") => remove(session, reason),
    sweep(at) {
      for (const session of sessions.values()) {
        session.sweep(at, idleMs);
        if (isIdle(session) && at - session.lastActiveAt > idleMs) remove(session, "the session was idle too long");
      }
    },
    keepAlive(write) {
      for (const session of sessions.values()) session.keepAlive(write);
    },
    get busy() {
      for (const session of sessions.values()) if (session.busy) return true;
      return false;
    },
    closeAll(reason) {
      for (const session of sessions.values()) remove(session, reason);
    },
  };
}
