import type { EventLog } from "@toolyard/events";
import type { Runtime, RuntimeKind } from "@toolyard/runtimes/runtime.ts";
import type { Logger } from "@toolyard/service-kit";
import type { DeploymentEventPayload, HealthEventPayload } from "./deployment.ts";
import type { DeploymentStore } from "./deployment-store.ts";
import type { UsageStore } from "./usage/usage-store.ts";
import { MINUTES_KEPT_MS } from "./usage/usage-window.ts";

const DAY_MS = 24 * 60 * 60 * 1_000;
/** How long events, usage and the logs of what failed are kept. */
const KEPT_MS = 30 * DAY_MS;
const INTERVAL_MS = 60 * 60 * 1_000;

/** Removes what is too old, once an hour. Returns what ends it. */
export function startHousekeeping(options: {
  eventLog: EventLog<DeploymentEventPayload>;
  healthLog: EventLog<HealthEventPayload>;
  usage: UsageStore;
  store: DeploymentStore;
  runtimes: readonly Runtime[];
  logger: Logger;
  now: () => number;
}): () => Promise<void> {
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

/** One round of it; exported for tests. */
export async function keepHouse(options: {
  eventLog: EventLog<DeploymentEventPayload>;
  healthLog: EventLog<HealthEventPayload>;
  usage: UsageStore;
  store: DeploymentStore;
  runtimes: readonly Runtime[];
  now: () => number;
  signal: AbortSignal;
}): Promise<void> {
  const { eventLog, healthLog, usage, store, now, signal } = options;
  const before = now() - KEPT_MS;
  await eventLog.trim(before);
  await healthLog.trim(before);
  while (!signal.aborted && (await usage.trim({ before, minutesBefore: now() - MINUTES_KEPT_MS })));
  const runtimes: ReadonlyMap<RuntimeKind, Runtime> = new Map(
    options.runtimes.map((runtime) => [runtime.kind, runtime]),
  );
  for (const { deployment, replicas } of await store.failedBefore(before))
    for (const { handle, previousHandle } of replicas)
      for (const old of [handle, previousHandle]) if (old) await runtimes.get(deployment.runtime)?.forget(old);
}
