import { setTimeout as delay } from "node:timers/promises";
import { ToolyardError, messageOf, type Logger } from "@toolyard/service-kit";
import type { ControlPlane } from "../control-plane/control-plane.ts";
import type { UsageJournal } from "./usage-journal.ts";

/** Hands sealed batches to the control plane, one after the other, each until it is acknowledged. */
export interface UsageDelivery {
  /** Says that there may be batches to hand over. */
  wake(): void;
  /** Tries for at most `ms` to hand over all batches. */
  drain(ms: number): Promise<void>;
  close(): Promise<void>;
}

const FIRST_WAIT_MS = 250;
const LAST_WAIT_MS = 15_000;

export function startUsageDelivery(options: {
  journal: UsageJournal;
  /** As `recordUsage` of the control plane. */
  send: ControlPlane["recordUsage"];
  logger: Logger;
}): UsageDelivery {
  const { journal, send, logger } = options;
  const stopping = new AbortController();
  let waker = Promise.withResolvers<void>();
  let idle = Promise.withResolvers<void>();

  async function deliver(id: string): Promise<void> {
    const batch = await journal.readBatch(id);
    const refused = batch === null ? null : await attempt(batch);
    if (refused === null) return journal.removeBatch(id);
    // It would be refused for ever and block all after it.
    logger.error({ batch: id, reason: refused }, "the control plane refuses a batch of usage; it is set aside");
    return journal.refuseBatch(id);
  }

  async function attempt(batch: Buffer): Promise<string | null> {
    try {
      return await send(batch);
    } catch (error) {
      if (error instanceof ToolyardError && error.code === "BAD_USER_INPUT" && !isJson(batch))
        return "It was damaged on disk: it is not JSON.";
      throw error;
    }
  }

  async function run(): Promise<void> {
    let waitMs = FIRST_WAIT_MS;
    while (!stopping.signal.aborted) {
      const [id] = journal.sealed();
      if (id === undefined) {
        idle.resolve();
        await waker.promise;
        waker = Promise.withResolvers();
        continue;
      }
      try {
        await deliver(id);
        waitMs = FIRST_WAIT_MS;
      } catch (error) {
        if (waitMs === FIRST_WAIT_MS && !stopping.signal.aborted) {
          logger.warn({ reason: messageOf(error) }, "usage waits on disk: the control plane does not take it");
        }
        await delay(waitMs, undefined, { signal: stopping.signal }).catch(() => undefined); // aborted: the loop ends
        waitMs = Math.min(waitMs * 2, LAST_WAIT_MS);
      }
    }
  }
  const running = run();

  return {
    wake: () => waker.resolve(),
    async drain(ms) {
      idle = Promise.withResolvers();
      waker.resolve();
      const deadline = new AbortController();
      await Promise.race([idle.promise, delay(ms, undefined, { signal: deadline.signal }).catch(() => undefined)]); // aborted: drained
      deadline.abort();
    },
    async close() {
      stopping.abort();
      waker.resolve();
      await running;
    },
  };
}

function isJson(bytes: Buffer): boolean {
  try {
    JSON.parse(bytes.toString());
    return true;
  } catch {
    return false;
  }
}
