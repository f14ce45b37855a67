import type { EventLog } from "@toolyard/events";
import type { Logger } from "@toolyard/service-kit";
import type { DeploymentEventPayload, HealthEventPayload } from "../deployment.ts";
import type { DeploymentStore } from "./deployment-store.ts";
import type { Reap } from "../engine/reaper.ts";
import { reapFailed } from "../engine/reap-failed.ts";
import type { LogArchive } from "../logs/log-archive.ts";
import type { UsageStore } from "../usage/usage-store.ts";

const DAY_MS = 24 * 60 * 60 * 1_000;
/** How long events, usage and health checks are kept. */
const KEPT_MS = 30 * DAY_MS;
const INTERVAL_MS = 60 * 60 * 1_000;

interface HousekeepingOptions {
  eventLog: EventLog<DeploymentEventPayload>;
  healthLog: EventLog<HealthEventPayload>;
  usage: UsageStore;
  store: DeploymentStore;
  archive: LogArchive;
  reap: Reap;
  logRetentionMs: number;
  logger: Logger;
  now: () => number;
}

/** Removes old rows and logs regularly. Returns a function that ends it. */
export function startHousekeeping(options: HousekeepingOptions): () => Promise<void> {
  const { logger } = options;
  let running: Promise<void> | null = null;
  const ended = new AbortController();
  const timer = setInterval(() => {
    running ??= keepHouse({ ...options, signal: ended.signal })
      .catch((error: unknown) =>
        logger.warn({ err: error }, "removing old events and usage failed; it is tried again in an hour"),
      )
      .finally(() => {
        running = null;
      });
  }, INTERVAL_MS);
  timer.unref();
  return async () => {
    clearInterval(timer);
    ended.abort();
    await running;
  };
}

/** One round of it. */
async function keepHouse(options: HousekeepingOptions & { signal: AbortSignal }): Promise<void> {
  const { eventLog, healthLog, usage, store, archive, reap, logRetentionMs, now, signal } = options;
  const before = now() - KEPT_MS;
  await eventLog.trim(before, signal);
  await healthLog.trim(before, signal);
  await usage.trim({ before, now: now(), signal });
  await store.trimHealthChecks(before, signal);
  if (signal.aborted) return;
  await archive.trim(signal);
  await reapFailed({ store, reap, before: now() - logRetentionMs, signal });
}
