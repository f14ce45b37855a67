import {
  ToolyardError,
  sharedAccessOf,
  shareChanges,
  type Caller,
  type GraphClient,
  type Logger,
  type ShareAccess,
  type ShareChange,
} from "@toolyard/service-kit";
import { follow } from "@toolyard/service-kit/graph/follow.ts";
import { uncounted, type CacheCount } from "@toolyard/cache";
import { LRUCache } from "lru-cache";

/** Whether a call's caller may call its tool no longer. */
type HasLost = (caller: Caller, toolId: string) => boolean;

/** Who may call tools only because their authors share them. */
export interface SharedAccess {
  /**
   * Whether the caller may call the tool: at once where their role or a known share decides, else a promise.
   * @throws ToolyardError by the promise: UPSTREAM_UNAVAILABLE when it is not known and the tools service is away; RATE_LIMITED.
   */
  mayInvoke(caller: Caller, toolId: string): boolean | Promise<boolean>;
  /** Follows changes of shares until `close`. */
  start(): void;
  close(): Promise<void>;
}

interface Known {
  access: ShareAccess | null;
  /** Epoch ms until which nobody need be asked, and of the last word of the tools service. */
  freshUntil: number;
  readAt: number;
}

interface Asking {
  answer: Promise<ShareAccess | null>;
  /** A change that came while it was asked, which may be newer than the answer. */
  change: ShareChange | null;
}

const FRESH_MS = 30_000;
/** How long a share is good while the tools service is away, and how long until it is then asked again. */
const KNOWN_GOOD_MS = 60 * 60_000;
const AWAY_RETRY_MS = 2_000;
const MAX_KNOWN = 20_000;
/** More questions than this at once are refused. */
const MAX_ASKING = 64;
const ASK_MS = 3_000;

export function createSharedAccess(options: {
  graph: GraphClient;
  /** It has `internal:tool-shares`. */
  as: Caller;
  /** Ends the calls of those who have lost the right to them. */
  onLost: (hasLost: HasLost) => void;
  /** Whether a share was known. */
  count?: CacheCount;
  logger: Logger;
  now?: () => number;
}): SharedAccess {
  const { graph, as, onLost, count = uncounted, logger, now = Date.now } = options;
  const known = new LRUCache<string, Known>({ max: MAX_KNOWN });
  const asking = new Map<string, Asking>();
  const stopping = new AbortController();
  const { signal } = stopping;
  let following: Promise<void> = Promise.resolve();
  /** Where to go on in the tools' log; null: nothing has come yet. */
  let after: string | null = null;

  const keyOf = (userId: string, toolId: string) => `${userId} ${toolId}`;
  const isEnough = (caller: Caller, toolId: string, shared: ShareAccess | null) =>
    caller.can("tool:invoke", { ownerId: null, toolId, shared });

  async function read(key: string, userId: string, toolId: string, state: Pick<Asking, "change">) {
    const readAt = now();
    try {
      const asked = { graph, as, signal: AbortSignal.timeout(ASK_MS) };
      const [found = null] = await sharedAccessOf(asked, userId, [toolId]);
      const access = state.change ? state.change.access : found;
      known.set(key, { access, readAt, freshUntil: now() + FRESH_MS });
      return access;
    } catch (error) {
      const old = known.get(key);
      if (old && now() - old.readAt < KNOWN_GOOD_MS) {
        old.freshUntil = now() + AWAY_RETRY_MS;
        return old.access;
      }
      throw error;
    } finally {
      asking.delete(key);
    }
  }

  function ask(key: string, userId: string, toolId: string): Promise<ShareAccess | null> {
    const running = asking.get(key);
    if (running) return running.answer;
    if (asking.size >= MAX_ASKING)
      throw new ToolyardError("RATE_LIMITED", "Too many shares are being checked. Try again.", {
        retryAfterSeconds: 1,
      });
    const state: Pick<Asking, "change"> = { change: null };
    asking.set(key, Object.assign(state, { answer: read(key, userId, toolId, state) }));
    return asking.get(key)?.answer ?? Promise.resolve(null);
  }

  function take(change: ShareChange): void {
    after = change.sequence;
    const { toolId, userId, access } = change;
    const key = keyOf(userId, toolId);
    const running = asking.get(key);
    if (running) running.change = change;
    known.delete(key);
    onLost((caller, ofTool) => caller.userId === userId && ofTool === toolId && !isEnough(caller, toolId, access));
  }

  return {
    mayInvoke(caller, toolId) {
      if (isEnough(caller, toolId, null)) return true;
      const { userId } = caller;
      // Neither would any share be enough.
      if (userId === null || !isEnough(caller, toolId, "EDIT")) return false;
      const key = keyOf(userId, toolId);
      const hit = known.get(key);
      if (hit && now() < hit.freshUntil) {
        count.hit();
        return isEnough(caller, toolId, hit.access);
      }
      count.miss();
      return Promise.resolve()
        .then(() => ask(key, userId, toolId))
        .then((access) => isEnough(caller, toolId, access));
    },
    start() {
      following = follow({
        name: "shares",
        open: () => shareChanges({ graph, as, signal }, after),
        take,
        onBroken(error) {
          if (after !== null && !isOutsideOfLog(error)) return;
          // Changes may be missed: who calls by a share is asked about anew, and their streams open again.
          after = null;
          for (const each of known.values()) each.freshUntil = 0;
          onLost((caller, toolId) => !isEnough(caller, toolId, null));
        },
        signal,
        logger,
      });
    },
    async close() {
      stopping.abort();
      await following;
    },
  };
}

/** Whether the log has not the place asked for. */
function isOutsideOfLog(error: unknown): boolean {
  return (
    error instanceof ToolyardError && ("oldestSequence" in error.extensions || "latestSequence" in error.extensions)
  );
}
