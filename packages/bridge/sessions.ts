import { randomUUID } from "node:crypto";

import type { Exchange } from "./exchange.ts";
import type { Message } from "./json-rpc.ts";
import { type Pool, Unavailable } from "./pool.ts";
import { createSession, type Session, type SessionOptions } from "./session.ts";
import type { SharedChildren } from "./shared.ts";

/** The sessions of the older era, and how many there may be. */
export interface Sessions {
  readonly size: number;
  get(id: string): Session | undefined;
  /**
   * Opens a session for an `initialize` request.
   * @throws Unavailable when none is free and none is idle, or there is no child for it.
   */
  open(initialize: Message): Promise<Session>;
  /** Closes it as its client asked. */
  remove(session: Session): void;
  sweep(now: number, timeoutSeconds: number): void;
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
  now: () => number;
}

export function createSessions(options: SessionsOptions): Sessions {
  const { pool, children, mode, maxSessions, idleMs, now } = options;
  const sessions = new Map<string, Session>();
  /** Sessions that wait for their child. */
  let opening = 0;

  function makeRoom(): void {
    if (sessions.size + opening < maxSessions) return;
    let idlest: Session | null = null;
    for (const session of sessions.values()) {
      if (!session.busy && (idlest === null || session.lastActiveAt < idlest.lastActiveAt)) idlest = session;
    }
    if (idlest === null) throw new Unavailable(`all ${maxSessions} sessions are in use; try again later`, 5);
    remove(idlest, "the session was closed to make room for another");
  }

  function remove(session: Session, reason: string): void {
    if (!sessions.delete(session.id)) return;
    session.close(reason);
  }

  async function childFor(initialize: Message): Promise<SessionOptions["child"]> {
    if (mode === "shared") {
      const lease = await children.lease({ caller: "", capabilities: {}, stateless: false, alone: false });
      lease.release();
      return { kind: "shared", shared: lease.child };
    }
    // Until the first child has answered, nobody knows what the server speaks; and it may become this session's own.
    if (pool.failure === null) await children.settled();
    const taken = children.surrender(initialize.params);
    return taken === null ? { kind: "own", child: pool.take() } : { kind: "taken", shared: taken };
  }

  return {
    get size() {
      return sessions.size;
    },
    get: (id) => sessions.get(id),
    async open(initialize) {
      makeRoom();
      opening += 1;
      let child: SessionOptions["child"];
      try {
        child = await childFor(initialize);
      } finally {
        opening -= 1;
      }
      const id = randomUUID();
      const session = createSession({
        id,
        child,
        now,
        onReady(ready) {
          if (child.kind === "own") pool.proved(ready);
          if (mode === "isolated") pool.keepSpare();
        },
        onEnd: () => sessions.delete(id),
      });
      sessions.set(id, session);
      return session;
    },
    remove: (session) => remove(session, "the session was closed"),
    sweep(at, timeoutSeconds) {
      for (const session of sessions.values()) {
        session.sweep(at, timeoutSeconds, idleMs);
        if (!session.busy && !session.listening && at - session.lastActiveAt > idleMs)
          remove(session, "the session was idle too long");
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
