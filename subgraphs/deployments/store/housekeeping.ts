import type { EventLog } from "@toolyard/events";
import type { Job, JobLeases } from "@toolyard/scheduler";
import type { DeploymentEventPayload, HealthEventPayload } from "../deployment.ts";
import type { HostStore } from "../hosts/host-store.ts";
import type { DeploymentStore } from "./deployment-store.ts";
import type { Reap } from "../engine/reaper.ts";
import { reapFailed } from "../engine/reap-failed.ts";
import type { LogArchive } from "../logs/log-archive.ts";
import type { UsageStore } from "../usage/usage-store.ts";

interface HousekeepingOptions {
  eventLog: EventLog<DeploymentEventPayload>;
  healthLog: EventLog<HealthEventPayload>;
  usage: UsageStore;
  store: DeploymentStore;
  hosts: HostStore;
  hostId: string;
  leases: JobLeases;
  archive: LogArchive;
  reap: Reap;
  /** How long events, calls and health checks are kept. */
  retentionMs: number;
  logRetentionMs: number;
  now: () => number;
}

/** Removes old rows, and what ended processes of this host left behind. */
export function createHousekeeping(options: HousekeepingOptions): Job[] {
  const { eventLog, healthLog, usage, store, hosts, hostId, leases, archive, reap, now } = options;
  const { retentionMs, logRetentionMs } = options;
  return [
    {
      name: "deployment-records",
      leases,
      async run(work) {
        const before = now() - retentionMs;
        let rows = await eventLog.trim(before, work);
        rows += await healthLog.trim(before, work);
        rows += await hosts.trim(before);
        rows += await usage.trim({ before, now: now() }, work);
        return rows + (await store.trimHealthChecks(before, work));
      },
    },
    {
      name: "replica-remains",
      leases: null,
      run: async ({ signal }) =>
        (await archive.trim(signal)) +
        (await reapFailed({ store, reap, hostId, before: now() - logRetentionMs, signal })),
    },
  ];
}
