import type { SecretMask } from "@toolyard/service-kit/secret-mask.ts";

import { messageOf } from "@toolyard/service-kit/errors/errors.ts";
import { createCrashes, delayAfter } from "./crashes.ts";
import { AT_ONCE, AT_ONCE_MS } from "./how-ended.ts";
import type { Memory } from "./memory.ts";
import {
  type Child,
  type ChildEnd,
  type ChildOptions,
  createChild,
  inFull,
  type OpenChild,
  type Reason,
} from "./child.ts";
import type { LineLog } from "./line-log.ts";
import { adaptStatelessChild } from "./stateless-child.ts";
import { type Launch, type SpawnedProcess, spawnProcess } from "./spawn.ts";

/** Starts children, keeps one warm, counts how they end. Does not know their callers. */
export interface Pool {
  readonly size: number;
  /** Why children end before they serve; null unless they do. */
  readonly failure: Failure | null;
  /** Whether a child answered `initialize`, and the next one is expected to. */
  readonly healthy: boolean;
  /** The output of a child that has not answered yet where only messages may be; "": none. */
  readonly printed: string;
  /** Children speak only the stateless revision: each is adapted from then on. */
  adaptFromNow(): void;
  /**
   * A child that was not initialised yet: the warm one, or a fresh one.
   *
   * @param caller Its owner from the start, "" when nobody is named; null: the bridge itself, whose children show the server's health
   * @throws Unavailable while servers exit at once and it is too early to try again, there is no memory, or the pool is closed.
   */
  take(caller: string | null): Child;
  /** The same, to be spoken to in the stateless revision. */
  takeUnadapted(): Child;
  /** A message of this caller goes to the child now: if it ends, that counts against them. */
  usedBy(child: Child, caller: string): void;
  /** @throws Unavailable while this caller's calls end servers */
  admit(caller: string): void;
  /** How many more children fit into memory, judging by the running ones. */
  room(): number;
  /** Keeps one child warm, from now on. It is started a little later, so as not to slow down the caller just served. */
  keepSpare(): void;
  /** The child answered `initialize`. */
  proved(child: Child): void;
  /** The child answered the bridge's own `initialize` with an error, and is stopped. Counts as an end by itself. */
  refused(child: Child, reason: Reason): void;
  /** Ends all children. Resolves when none of their processes are left. */
  close(): Promise<void>;
  /** SIGKILL to all, synchronously. */
  kill(): void;
}

interface Failure extends Reason {
  /** Epoch ms of the next try. */
  retryAt: number;
}

/** No child can serve this now. The message is for the caller. */
export class Unavailable extends Error {
  override readonly name = "Unavailable";
  readonly retryAfterSeconds: number;
  constructor(message: string, retryAfterSeconds: number) {
    super(message);
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

const SPARE_DELAY_MS = 1_000;

export interface PoolOptions {
  launch: Launch | OpenChild;
  /** Whether a child is kept warm for the next session. */
  spare: boolean;
  /** A process started before the pool existed: its first child. */
  first: SpawnedProcess | null;
  log: LineLog;
  mask: SecretMask;
  now: () => number;
  memory: Memory;
  maxMessageBytes: number;
  /** A child ended by itself. */
  onFailure: () => void;
}

export function createPool(options: PoolOptions): Pool {
  const { launch, log, mask, now, memory, maxMessageBytes, onFailure } = options;
  const children = new Set<Child>();
  const crashes = createCrashes({ now });
  /** The owners of children by pid: the caller who got it, or used it last. The others are the bridge's own. */
  const users = new Map<number, string>();
  const provedChildren = new Set<Child>();
  let spare: Child | null = null;
  let sparing = false;
  let spareTimer: NodeJS.Timeout | null = null;
  let failures = 0;
  let failure: Failure | null = null;
  let closed = false;
  let adapt = false;
  let everProved = false;

  function ended(child: Child, end: ChildEnd): void {
    const proved = provedChildren.delete(child);
    if (spare === child) spare = null;
    void child.gone.then(() => children.delete(child));
    const user = users.get(child.pid ?? 0);
    users.delete(child.pid ?? 0);
    if (child.closing || closed) return;
    log.write("SYSTEM", inFull(end));
    const soon = now() - child.startedAt < AT_ONCE_MS;
    const isNoServer = !proved && end.words === "" && child.printed !== "";
    const wasSpawned = end.code !== null || end.signal !== null;
    const early = proved || !wasSpawned ? "" : soon ? AT_ONCE : " before it was initialized";
    const reason =
      end.reason + early + (isNoServer ? ", and prints text on stdout, where only MCP messages may be" : "");
    // The end of a caller's child tells nothing about others; the bridge's own children show the server's health.
    if (user === undefined) fail(soon, { reason, words: isNoServer ? child.printed : end.words });
    else if (user !== "") crashes.count(user, reason);
    onFailure();
  }

  function fail(soon: boolean, { reason, words }: Reason): void {
    failures = soon ? failures + 1 : 1;
    failure = { reason, words, retryAt: now() + delayAfter(failures) };
  }

  function adopt(open: OpenChild): Child {
    const onEnd = (end: ChildEnd) => ended(child, end);
    const child: Child = open({ log, mask, maxMessageBytes, memoryKills: () => memory.kills?.() ?? 0, onEnd });
    children.add(child);
    return child;
  }

  const asChild = (spawned: SpawnedProcess) => (shared: ChildOptions) => createChild({ spawned, ...shared });

  function spawnOne(): Child {
    return adopt(typeof launch === "function" ? launch : asChild(spawnProcess(launch)));
  }

  if (options.first !== null) spare = adopt(asChild(options.first));

  function scheduleSpare(): void {
    if (!sparing || closed || spare !== null || spareTimer !== null) return;
    spareTimer = setTimeout(() => {
      spareTimer = null;
      if (closed || spare !== null || failure !== null || room() < 1) return;
      try {
        spare = spawnOne();
      } catch (error) {
        log.write("SYSTEM", `cannot start a spare server: ${String(error)}`);
      }
    }, SPARE_DELAY_MS);
    spareTimer.unref();
  }

  function admit(caller: string): void {
    const wait = crashes.wait(caller);
    if (wait !== null)
      throw new Unavailable(
        `${wait.reason}, several times at your calls; try again in ${wait.seconds} s`,
        wait.seconds,
      );
  }

  function room(): number {
    return memory.room(
      [...children].flatMap(({ pid, end, closing }) => (pid === undefined || end !== null || closing ? [] : [pid])),
    );
  }

  function takeOne(caller: string | null): Child {
    if (closed) throw new Unavailable("the bridge is shutting down", 1);
    if (caller !== null) admit(caller);
    // If one caller's child runs, others' may.
    const isHopeless = caller === null || provedChildren.size === 0;
    if (failure !== null && failures > 1 && failure.retryAt > now() && spare === null && isHopeless) {
      throw new Unavailable(failure.reason, Math.max(1, Math.ceil((failure.retryAt - now()) / 1000)));
    }
    if (spare === null && children.size > 0 && room() < 1)
      throw new Unavailable("there is no memory for another process of the server; try again later", 5);
    let child = spare;
    spare = null;
    try {
      child ??= spawnOne();
    } catch (error) {
      throw new Unavailable(`the server could not be started: ${messageOf(error)}`, 5);
    }
    if (caller !== null) usedBy(child, caller);
    scheduleSpare();
    return child;
  }

  function usedBy(child: Child, caller: string): void {
    if (child.pid !== undefined) users.set(child.pid, caller);
    child.usedBy?.(caller);
  }

  return {
    get size() {
      return children.size;
    },
    get failure() {
      return failure;
    },
    get healthy() {
      return everProved && (failure === null || provedChildren.size > 0);
    },
    get printed() {
      for (const child of children) if (!provedChildren.has(child) && child.printed !== "") return child.printed;
      return "";
    },
    adaptFromNow() {
      adapt = true;
    },
    take: (caller) => (adapt ? adaptStatelessChild(takeOne(caller)) : takeOne(caller)),
    takeUnadapted: () => takeOne(null),
    usedBy,
    admit,
    room,
    keepSpare() {
      sparing = options.spare;
      scheduleSpare();
    },
    proved(child) {
      // By pid: the child may have been handed out in its adapter.
      for (const known of children) if (known.pid === child.pid && known.end === null) provedChildren.add(known);
      everProved = true;
      failure = null;
    },
    refused(child, reason) {
      log.write("SYSTEM", inFull(reason));
      // However long it took: the next one gets the same question.
      fail(true, reason);
      void child.close();
    },
    async close() {
      closed = true;
      if (spareTimer !== null) clearTimeout(spareTimer);
      await Promise.all([...children].map((child) => child.close()));
    },
    kill() {
      for (const child of children) child.kill();
    },
  };
}
