import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "@toolyard/service-kit/errors/errors.ts";
import { isObject } from "@toolyard/service-kit/json.ts";
import { createChildOpener, type ChildOpenerOptions } from "./child-opening.ts";
import type { Child } from "./child/child.ts";
import type { LineLog } from "./child/line-log.ts";
import type { Peer } from "./child/peer.ts";
import { Unavailable } from "./child/pool.ts";
import type { Params } from "./protocol/json-rpc.ts";
import type { SharedChild } from "./shared-child.ts";
import { createLeases, type GroupName, type Lease, type Want } from "./stateless/leases.ts";

export interface SharedChildren {
  /**
   * A child for a request without a session. A server that speaks the stateless revision has one for all requests of that
   * revision; one of the session era has children for each caller and each set of client capabilities, which it learns once.
   * @throws Unavailable
   */
  lease(want: {
    /** The caller who must own the child; "" when callers are not kept apart. */
    caller: string;
    /** The asker: if the request ends the child, that counts against them. */
    user: string;
    capabilities: Record<string, unknown>;
    /** Whether the request is of the stateless revision. */
    stateless: boolean;
    /** Whether the server may ask something in the middle of it, which one of the session era does by a request that names no other. */
    mayAsk: boolean;
    /** Whether it may log, which names no request in either era. */
    mayLog: boolean;
    childId?: string | undefined;
    whenGone?: Want["whenGone"];
  }): Promise<Lease>;
  /** A session's messages go to it: its end counts against the caller whose calls have run in it since it was idle, if there is only one. */
  use(child: SharedChild, caller: string): void;
  /** Whether the server speaks the stateless revision. */
  speakStateless(): Promise<boolean>;
  /**
   * Gives the blank child to a session whose `initialize` would have got the same answer: then the first client after a
   * deployment waits for no second start. Null when it does not match.
   */
  surrender(initialize: Params | undefined): SharedChild | null;
  /** The blank child, if there is one. */
  blank(): SharedChild | undefined;
  /** The blank child is asked something: a session that would take it waits a little for the end of that. */
  keepBlankFor(work: Promise<unknown>): void;
  /** Starts the blank child and keeps it running until it is given away. */
  warm(): void;
  /**
   * Resolves once the first handshake went well or badly, and the blank child is free, if that is soon.
   * @throws Unavailable when that takes too long.
   */
  settled(): Promise<void>;
  /** Ends the child of that peer, which answers nothing, and starts another where one is kept. */
  end(peer: Peer): void;
  sweep(now: number, idleMs: number, timeoutSeconds: number): void;
  all(): SharedChild[];
  close(): void;
}

export interface SharedChildrenOptions extends Omit<ChildOpenerOptions, "onFreed" | "onStateless"> {
  log: LineLog;
  /** Longest wait for a child that is starting or busy. */
  timeoutSeconds: number;
  /** Children for requests without a session. */
  maxChildren: number;
  /** How long a session waits for the blank child that is asked something. */
  blankWaitMs: number;
}

const FIRST_RETRY_MS = 250;
const APART_MS = 60_000;
/** The part of a call's time, in ms, after which the caller is told why, before the proxy gives up without knowing. */
const SHARE_OF_WAIT = 900;
/** A server of the session era may not answer at all before `initialize`. */
const MIN_DISCOVER_MS = 3_000;
const blank = sessionGroup("", {});
const everybody: GroupName = { key: "stateless", caller: null };

function sessionGroup(caller: string, capabilities: Record<string, unknown>): GroupName {
  return { key: JSON.stringify([caller, capabilities]), caller };
}

/** The client capabilities on which a server of the session era acts. */
export function relevantCapabilities(capabilities: unknown): Record<string, unknown> {
  const relevant: Record<string, unknown> = {};
  if (!isObject(capabilities)) return relevant;
  for (const [name, known] of [
    ["elicitation", ["form", "url"]],
    ["roots", ["listChanged"]],
    ["sampling", ["context", "tools"]],
  ] as const) {
    const value = capabilities[name];
    if (!isObject(value)) continue;
    const inner: Record<string, unknown> = {};
    for (const key of known)
      if (isObject(value[key]) || value[key] === true) inner[key] = isObject(value[key]) ? {} : true;
    relevant[name] = inner;
  }
  return relevant;
}

export function createSharedChildren(options: SharedChildrenOptions): SharedChildren {
  const { pool, log, now, timeoutSeconds, maxChildren, blankWaitMs, statusOf, onRequest, onNotification, onEnd } =
    options;
  let wanted = false;
  let closed = false;
  let retry: NodeJS.Timeout | null = null;
  let first: Promise<void> | null = null;
  /** The questions that the blank child answers now. */
  let asked: Promise<unknown> | null = null;
  /** Settled once a stateless caller has come. */
  let spoken: Promise<"sessions" | "stateless"> | null = null;
  /** Its value once it has settled; null before. */
  let revision: "sessions" | "stateless" | null = null;
  /** Children that were asked for their revision and not used yet. */
  let raw: Child | null = null;
  let discovered: SharedChild | null = null;
  /** Until when callers do not share a child of the stateless revision: the last one ended by itself. */
  let apartUntil = 0;
  /** How long the newest child of the session era took to be ready. */
  let startMs = 0;
  const leases = createLeases({
    now,
    maxChildren,
    isKept: (child) => wanted && child === leases.find(blank.key),
  });

  const opener = createChildOpener({
    pool,
    now,
    statusOf,
    onRequest,
    onNotification,
    onFreed: (child) => leases.freed(child),
    onEnd(child, end) {
      const wasBlank = child === leases.find(blank.key);
      // The request that ended it is unknown; for a while each caller has a child of their own, so that the next end can be attributed.
      if (child === leases.find(everybody.key) && !child.peer.child.closing) apartUntil = now() + APART_MS;
      leases.remove(child);
      onEnd(child, end);
      for (const listener of child.endListeners) listener(end);
      if (wasBlank) warmAgain();
    },
    onStateless() {
      spoken = Promise.resolve("stateless");
      revision = "stateless";
    },
  });

  async function startForSessions(capabilities: Record<string, unknown>, caller = ""): Promise<SharedChild> {
    // With a client's capabilities, its end counts against that client: they may crash a server.
    const child = raw ?? pool.take(Object.keys(capabilities).length === 0 ? null : caller);
    raw = null;
    const opened = await opener.initialize(child, capabilities);
    startMs = now() - child.startedAt;
    return opened;
  }

  /** A child that is spoken to in the stateless revision, or null when it does not speak it: it is then in `raw`. */
  async function discover(timeoutMs: number, isTrial: boolean): Promise<SharedChild | null> {
    const child = pool.takeUnadapted();
    // While the server's revision is unknown, its end tells nothing: some servers of the session era crash on the question.
    if (isTrial) pool.usedBy(child, "");
    const opened = await opener.discover(child, timeoutMs);
    if (opened === null) raw = child;
    return opened;
  }

  async function startForStateless(): Promise<SharedChild> {
    const child = discovered ?? (await discover(timeoutSeconds * 1000, false));
    discovered = null;
    if (child !== null) return child;
    spoken = null;
    revision = null;
    throw new Unavailable("the server spoke protocol revision 2026-07-28 before and does not now; try again", 1);
  }

  /** Asks a child, once, for the server's revision; it is then used, whatever it answers. */
  async function learn(): Promise<"sessions" | "stateless"> {
    // Until the first child has answered, nobody knows whether the server runs at all.
    await (first ?? Promise.resolve());
    if (spoken !== learning && spoken !== null) return spoken;
    try {
      discovered = await discover(Math.min(timeoutSeconds * 1000, Math.max(MIN_DISCOVER_MS, 3 * startMs)), true);
    } catch (error) {
      // Some servers of the session era end when the first thing they hear is not `initialize`, others do not answer.
      if (leases.find(blank.key) === undefined) throw error;
      return "sessions";
    }
    return discovered === null ? "sessions" : "stateless";
  }
  let learning: Promise<"sessions" | "stateless"> | null = null;

  function speaks(): Promise<"sessions" | "stateless"> {
    if (spoken !== null) return spoken;
    const asking = learn();
    learning = asking;
    spoken = asking;
    asking.then(
      (answer) => {
        if (spoken === asking) revision = answer;
      },
      () => {
        spoken = null;
        revision = null;
      },
    );
    return asking;
  }

  /** The blank child, if it holds nobody's state. */
  function takeBlank(): SharedChild | null {
    const child = leases.find(blank.key);
    if (child === undefined || !child.untouched || child.peer.tainted || isBusy(child)) return null;
    leases.remove(child);
    wanted = false;
    return child;
  }

  function isBusy(child: SharedChild): boolean {
    return child.peer.open.size > 0 || child.reserved > 0 || child.listeners.size > 0 || child.subscriptions.size > 0;
  }

  async function inTime<T>(promise: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | null = null;
    const deadline = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(
        () => reject(new Unavailable("the server is still starting: it has not answered initialize yet", 2)),
        timeoutSeconds * 1000,
      );
    });
    try {
      return await Promise.race([promise, deadline]);
    } finally {
      if (timer !== null) clearTimeout(timer);
    }
  }

  function warmAgain(): void {
    if (!wanted || closed || retry !== null) return;
    const failure = pool.failure;
    retry = setTimeout(
      () => {
        retry = null;
        keepWarm();
      },
      failure === null ? 0 : Math.max(0, failure.retryAt - now()),
    );
  }

  function keepWarm(): void {
    if (!wanted || closed) return;
    const attempt = leases.take({ group: blank, start: () => startForSessions({}), alone: false, waitMs: null }).then(
      (lease) => lease.release(),
      (error: unknown) => {
        if (pool.failure === null) log.write("SYSTEM", messageOf(error));
        if (!closed && retry === null) {
          retry = setTimeout(
            () => {
              retry = null;
              keepWarm();
            },
            Math.max(FIRST_RETRY_MS, (pool.failure?.retryAt ?? 0) - now()),
          );
        }
      },
    );
    first ??= attempt;
  }

  function use(child: SharedChild, caller: string, isIdle: boolean): void {
    const user = isIdle || child.user === caller ? caller : "";
    if (user !== child.user) pool.usedBy(child.peer.child, user);
    child.user = user;
  }

  function used(lease: Lease, caller: string): Lease {
    const { child } = lease;
    use(child, caller, child.peer.open.size === 0 && child.reserved === 1);
    return lease;
  }

  return {
    use: (child, caller) => use(child, caller, child.peer.open.size === 0),
    speakStateless: async () => (revision ?? (await inTime(speaks()))) === "stateless",
    async lease({ caller, user, capabilities, stateless, mayAsk, mayLog, childId, whenGone }) {
      pool.admit(user);
      const waitMs = timeoutSeconds * SHARE_OF_WAIT;
      if (stateless && (revision ?? (await inTime(speaks()))) === "stateless") {
        const own = { key: JSON.stringify(["stateless", caller]), caller };
        const isApart = mayLog || now() < apartUntil || (childId !== undefined && leases.has(own.key, childId));
        const group = isApart ? own : everybody;
        return used(
          await leases.take({ group, start: startForStateless, alone: mayLog, childId, waitMs, whenGone }),
          user,
        );
      }
      const group = sessionGroup(caller, capabilities);
      const isBlank = Object.keys(capabilities).length === 0;
      const start = async (): Promise<SharedChild> =>
        (isBlank && caller !== "" && raw === null ? takeBlank() : null) ??
        (await startForSessions(capabilities, caller));
      return used(await leases.take({ group, start, alone: mayAsk || mayLog, childId, waitMs, whenGone }), user);
    },
    surrender(initialize) {
      const { protocolVersion } = leases.find(blank.key)?.identity ?? {};
      if (initialize?.protocolVersion !== protocolVersion) return null;
      if (!isObject(initialize?.capabilities) || Object.keys(initialize.capabilities).length > 0) return null;
      const shared = takeBlank();
      shared?.peer.release();
      return shared;
    },
    warm() {
      wanted = true;
      keepWarm();
    },
    blank: () => leases.find(blank.key),
    keepBlankFor(work) {
      asked = work.catch(() => undefined);
    },
    async settled() {
      await inTime(first ?? Promise.resolve());
      if (asked === null) return;
      const late = new AbortController();
      const wait = delay(blankWaitMs, undefined, { signal: late.signal }).catch(() => undefined); // aborted: it is free
      await Promise.race([asked, wait]);
      late.abort();
      asked = null;
    },
    sweep(at, idleMs, seconds) {
      for (const { peer } of leases.all()) peer.expire(at - seconds * 1000, seconds);
      leases.sweep(at, idleMs);
    },
    all: () => leases.all(),
    end(peer) {
      const child = leases.all().find((one) => one.peer === peer);
      if (child === undefined) return;
      const wasBlank = child === leases.find(blank.key);
      leases.retire(child);
      if (wasBlank) warmAgain();
    },
    close() {
      closed = true;
      if (retry !== null) clearTimeout(retry);
      leases.close();
    },
  };
}
