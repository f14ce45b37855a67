import type { ChildEnd, Reason } from "./child.ts";
import { metaKey, sessionVersions, statelessVersion } from "./era.ts";
import { code, errorText, isObject, type Message, type Params } from "./json-rpc.ts";
import type { LineLog } from "./line-log.ts";
import { type Call, createPeer, type Peer, PeerError } from "./peer.ts";
import { type Pool, Unavailable } from "./pool.ts";
import { adaptStatelessChild } from "./stateless-child.ts";

/** What a server said to `initialize`. */
export interface ServerIdentity {
  protocolVersion: string;
  capabilities: Record<string, unknown>;
  serverInfo: unknown;
  instructions: unknown;
  /** The whole result, to answer another `initialize` with. */
  result: Params;
}

/** Who hears a shared child's notifications: a `subscriptions/listen` stream, or a session in shared mode. */
export type Listener = (message: Message) => void;

/** A child that the bridge itself initialised, for the calls of many clients. */
export interface SharedChild {
  readonly peer: Peer;
  readonly identity: ServerIdentity;
  readonly listeners: Set<Listener>;
  /** Told when the child ended. */
  readonly endListeners: Set<(end: ChildEnd) => void>;
  lastActiveAt: number;
  /** Nothing but lists was asked of it: it can still become a session's own. */
  untouched: boolean;
  /** URIs its clients subscribed to, with who did. */
  readonly subscriptions: Map<string, Set<object>>;
  /** The log level it was set to; null: none yet. */
  logLevel: string | null;
}

export interface SharedChildren {
  /**
   * The child for clients of these capabilities. A child of the session era learns once what its client can do, so there
   * is one for each different set. Waits for a child that is starting.
   * @throws Unavailable
   */
  get(capabilities: Record<string, unknown>): Promise<SharedChild>;
  /**
   * Gives the blank child away to a session whose `initialize` would have been answered the same: then the first
   * client after a deployment waits for no second start. Null when that does not fit.
   */
  surrender(initialize: Params | undefined): SharedChild | null;
  /** Starts the blank child and keeps it running until it is given away. */
  warm(): void;
  /**
   * Resolves once the first handshake went well or badly.
   * @throws Unavailable when that takes too long.
   */
  settled(): Promise<void>;
  sweep(now: number, idleMs: number, timeoutSeconds: number): void;
  all(): SharedChild[];
  close(): void;
}

export interface SharedChildrenOptions {
  pool: Pool;
  log: LineLog;
  now: () => number;
  /** Longest wait for a child that is starting. */
  timeoutSeconds: number;
  /** A request of the server that none but a client can answer. */
  onRequest: (shared: SharedChild, message: Message) => void;
  onNotification: (shared: SharedChild, message: Message) => void;
  onEnd: (shared: SharedChild, end: ChildEnd) => void;
}

/** Sets of client capabilities that are served side by side. */
const maxProfiles = 4;
const blank = "{}";
const firstRetryMs = 250;
const subscribeTimeoutMs = 5_000;
const clientInfo = { name: "toolyard-bridge", version: "0.1.0" };

/** What of a client's capabilities a server of the session era acts on. */
export function relevantCapabilities(capabilities: unknown): Record<string, unknown> {
  const relevant: Record<string, unknown> = {};
  if (!isObject(capabilities)) return relevant;
  for (const name of ["elicitation", "roots", "sampling"]) {
    const value = capabilities[name];
    if (!isObject(value)) continue;
    const inner: Record<string, unknown> = {};
    for (const key of Object.keys(value).sort())
      if (isObject(value[key]) || value[key] === true) inner[key] = isObject(value[key]) ? {} : true;
    relevant[name] = inner;
  }
  return relevant;
}

class InitializeRefused extends Error implements Reason {
  override readonly name = "InitializeRefused";
  readonly reason = "the server refused to initialize";
  readonly words: string;
  constructor(words: string) {
    super("the server refused to initialize");
    this.words = words;
  }
}

export function createSharedChildren(options: SharedChildrenOptions): SharedChildren {
  const { pool, log, now, timeoutSeconds, onRequest, onNotification, onEnd } = options;
  const starting = new Map<string, Promise<SharedChild>>();
  const live = new Map<string, SharedChild>();
  let wanted = false;
  let closed = false;
  let retry: NodeJS.Timeout | null = null;
  let first: Promise<void> | null = null;

  async function start(key: string, capabilities: Record<string, unknown>): Promise<SharedChild> {
    let shared: SharedChild | null = null;
    const endListeners = new Set<(end: ChildEnd) => void>();
    const handler = {
      onNotification: (message: Message) => {
        if (shared !== null) onNotification(shared, message);
      },
      onRequest: (message: Message) => {
        if (message.method === "ping") peer.send(JSON.stringify({ jsonrpc: "2.0", id: message.id, result: {} }));
        else if (shared !== null) onRequest(shared, message);
        else if (message.id !== undefined)
          peer.send(errorText(message.id, code.methodNotFound, "there is no client yet"));
      },
      onEnd: (end: ChildEnd) => {
        if (shared === null) return;
        if (live.get(key) === shared) live.delete(key);
        onEnd(shared, end);
        for (const listener of endListeners) listener(end);
        if (key === blank) warmAgain();
      },
    };
    const child = pool.take();
    let peer = createPeer({ child, remap: true, handler, now });
    const initialize = { protocolVersion: sessionVersions[0], capabilities, clientInfo };
    try {
      let answer = await peer.ask("initialize", initialize, null);
      if (answer.error !== undefined) {
        // It may speak only the stateless revision: ask as that revision asks.
        const envelope = {
          [metaKey.protocolVersion]: statelessVersion,
          [metaKey.clientCapabilities]: {},
          [metaKey.clientInfo]: clientInfo,
        };
        const discovered = await peer.ask("server/discover", { _meta: envelope }, 10_000);
        if (discovered.error !== undefined) throw new InitializeRefused(answer.error.message);
        pool.adaptFromNow();
        peer = createPeer({ child: adaptStatelessChild(child), remap: true, handler, now });
        answer = await peer.ask("initialize", initialize, 10_000);
        if (answer.error !== undefined) throw new InitializeRefused(answer.error.message);
      }
      const result = answer.result;
      if (!isObject(result)) throw new PeerError("the server's answer to initialize is not an object");
      peer.notify("notifications/initialized");
      pool.proved(child);
      shared = {
        peer,
        identity: {
          protocolVersion: typeof result.protocolVersion === "string" ? result.protocolVersion : "",
          capabilities: isObject(result.capabilities) ? result.capabilities : {},
          serverInfo: result.serverInfo,
          instructions: result.instructions,
          result,
        },
        listeners: new Set(),
        endListeners,
        lastActiveAt: now(),
        untouched: true,
        subscriptions: new Map(),
        logLevel: null,
      };
      live.set(key, shared);
      return shared;
    } catch (error) {
      // What is refused to one client's capabilities says nothing of the others.
      if (error instanceof InitializeRefused && key === blank) pool.refused(child, error);
      else void child.close();
      throw new Unavailable(pool.failure?.reason ?? (error instanceof Error ? error.message : String(error)), 1);
    }
  }

  function obtain(capabilities: Record<string, unknown>): Promise<SharedChild> {
    const key = JSON.stringify(capabilities);
    const existing = live.get(key);
    if (existing !== undefined) return Promise.resolve(existing);
    const underway = starting.get(key);
    if (underway !== undefined) return underway;
    if (key !== blank) makeRoom();
    const promise = start(key, capabilities);
    starting.set(key, promise);
    const over = (): void => {
      starting.delete(key);
    };
    // Everyone who waits hears of a failure; nobody may be waiting.
    promise.then(over, over);
    return promise;
  }

  function makeRoom(): void {
    if (live.size + starting.size < maxProfiles + 1) return;
    let idlest: [string, SharedChild] | null = null;
    for (const entry of live) {
      if (entry[0] === blank || busy(entry[1])) continue;
      if (idlest === null || entry[1].lastActiveAt < idlest[1].lastActiveAt) idlest = entry;
    }
    if (idlest === null)
      throw new Unavailable(
        "too many clients of different capabilities are being served; try again, or use a session",
        5,
      );
    live.delete(idlest[0]);
    void idlest[1].peer.child.close();
  }

  function busy(shared: SharedChild): boolean {
    return shared.peer.open.size > 0 || shared.listeners.size > 0;
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
    const attempt = obtain({}).then(
      () => undefined,
      (error: unknown) => {
        if (pool.failure === null) log.write("SYSTEM", error instanceof Error ? error.message : String(error));
        if (!closed && retry === null) {
          retry = setTimeout(
            () => {
              retry = null;
              keepWarm();
            },
            Math.max(firstRetryMs, (pool.failure?.retryAt ?? 0) - now()),
          );
        }
      },
    );
    first ??= attempt;
  }

  return {
    async get(capabilities) {
      const shared = live.get(JSON.stringify(capabilities)) ?? (await inTime(obtain(capabilities)));
      shared.lastActiveAt = now();
      return shared;
    },
    surrender(initialize) {
      const shared = live.get(blank);
      if (
        shared === undefined ||
        !shared.untouched ||
        shared.peer.tainted ||
        busy(shared) ||
        shared.subscriptions.size > 0
      )
        return null;
      if (initialize?.protocolVersion !== shared.identity.protocolVersion) return null;
      if (!isObject(initialize.capabilities) || Object.keys(initialize.capabilities).length > 0) return null;
      live.delete(blank);
      wanted = false;
      shared.peer.release();
      return shared;
    },
    warm() {
      wanted = true;
      keepWarm();
    },
    settled: () => inTime(first ?? Promise.resolve()),
    sweep(at, idleMs, seconds) {
      for (const [key, shared] of live) {
        shared.peer.expire(at - seconds * 1000, seconds);
        if ((key !== blank || !wanted) && !busy(shared) && at - shared.lastActiveAt > idleMs) {
          live.delete(key);
          void shared.peer.child.close();
        }
      }
    },
    all: () => [...live.values()],
    close() {
      closed = true;
      if (retry !== null) clearTimeout(retry);
    },
  };
}

/** The answer to a request of the session era that went to a shared child. */
export function restoreSharedId(call: Call, message: Message): string {
  return JSON.stringify({ ...message, id: call.clientId });
}

/** Counts who watches a resource, so that one leaving does not end it for the others. */
export function subscribe(shared: SharedChild, uri: string, who: object): void {
  const watchers = shared.subscriptions.get(uri) ?? new Set<object>();
  shared.subscriptions.set(uri, watchers.add(who));
  if (watchers.size === 1) shared.peer.ask("resources/subscribe", { uri }, subscribeTimeoutMs).catch(() => undefined);
}

export function unsubscribe(shared: SharedChild, uri: string, who: object): void {
  const watchers = shared.subscriptions.get(uri);
  if (watchers === undefined || !watchers.delete(who) || watchers.size > 0) return;
  shared.subscriptions.delete(uri);
  if (shared.peer.child.end === null)
    shared.peer.ask("resources/unsubscribe", { uri }, subscribeTimeoutMs).catch(() => undefined);
}
