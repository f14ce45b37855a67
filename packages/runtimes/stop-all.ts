import type { Runtime } from "./runtime.ts";

/**
 * Stops every replica of this owner, side by side; for REPLICAS_ON_EXIT=stop.
 * @throws AggregateError of what could not be stopped, after all were tried.
 */
export async function stopAll(runtime: Runtime, graceMs: number): Promise<void> {
  const replicas = await runtime.list();
  const results = await Promise.allSettled(replicas.map(({ handle }) => runtime.stop(handle, graceMs)));
  const failures = results.flatMap((result) => (result.status === "rejected" ? [result.reason] : []));
  if (failures.length > 0) throw new AggregateError(failures, `${failures.length} replicas could not be stopped.`);
}
