import { setTimeout as delay } from "node:timers/promises";
import { createSerialQueue, newId, type Gauge, type Logger, type ServiceHealth } from "@toolyard/service-kit";
import type { LongWork } from "@toolyard/storage";
import { intervalsOf } from "@toolyard/service-kit/process/schedule.ts";
import { Cron } from "croner";
import type { JobLease, JobLeases, JobState } from "./job-leases.ts";

/** Work that is to be done again and again, by one process at a time. */
export interface Job {
  /** Unique in the installation: in logs, metrics, `/health` and the leases. */
  name: string;
  /** Of the store that it works on; null: it works on this process's own things, and each process runs it. */
  leases: JobLeases | null;
  /**
   * Does it, in short transactions that begin with `work.enter`; ends early when `work.signal` aborts. What was done stays when it fails.
   * @returns how many rows, or files, were changed
   */
  run(work: LongWork): Promise<number>;
}

/** Jobs that were added together. */
export interface ScheduledJobs {
  /** Degraded while one is overdue: its last two runs failed or did not come about. */
  health(): ServiceHealth;
  gauges(): Gauge[];
  /** Returns when none of them runs any more. */
  close(): Promise<void>;
}

/** Runs the jobs of a process, one after the other. Its timer keeps no process alive, and ends with the last job. */
export interface Scheduler {
  /** Those that should have run while there was no process to do so run soon. */
  add(jobs: readonly Job[]): ScheduledJobs;
}

interface Scheduled extends Job {
  stopping: AbortController;
  running: Promise<void> | null;
  /** When it was last up to date, as far as this process knows. */
  freshAt: number;
  lastSuccessAt: number | null;
  durationMs: number | null;
  rows: number;
  failures: number;
}

/** How long the lease of a runner that died keeps others from its job. Each of its transactions renews it. */
const LEASE_MS = 10 * 60_000;
/** Processes begin a run at different times: within this, or a tenth of the interval. */
const MAX_JITTER_MS = 60_000;
/** From one success to the end of the second run after it. */
const OVERDUE_INTERVALS = 2.5;

/** @param options.schedule When jobs run, in UTC: five or six fields of cron, or `@hourly` and the like */
export function createScheduler(options: {
  logger: Logger;
  schedule?: string;
  now?: () => number;
  random?: () => number;
}): Scheduler {
  const { logger, schedule = "@hourly", now = Date.now, random = () => Math.random() } = options;
  const intervals = intervalsOf(schedule);
  if (intervals === null) throw new Error(`"${schedule}" is no schedule.`);
  const { shortestMs, longestMs } = intervals;
  const runner = newId();
  const all = new Set<Scheduled>();
  const passes = createSerialQueue();
  let cron: Cron | null = null;

  const isOverdue = (job: Scheduled, times: number) => now() - job.freshAt > times * longestMs;

  async function passLater(isWanted: (job: Scheduled) => boolean): Promise<void> {
    await delay(random() * Math.min(MAX_JITTER_MS, shortestMs / 10), undefined, { ref: false });
    await passes.run(async () => {
      for (const job of all) {
        if (!isWanted(job)) continue;
        job.running = runOne(job);
        await job.running;
      }
    });
  }

  /** Never throws. */
  async function runOne(job: Scheduled): Promise<void> {
    const { name, leases } = job;
    const { signal } = job.stopping;
    const at = now();
    const begunAt = performance.now();
    let lease: JobLease | null = null;
    try {
      if (leases) {
        const unlessRunSince = at - shortestMs / 2;
        note(job, await leases.stateOf(name, at));
        lease = await leases.take(name, { runner, now: at, leaseMs: LEASE_MS, unlessRunSince });
        if (!lease) return note(job, await leases.stateOf(name, at));
      }
      const rows = await job.run({ signal, ...(leases && lease && { enter: guard(leases, lease) }) });
      job.rows += rows;
      // What was cut short is not done.
      const successAt = signal.aborted ? null : now();
      if (leases && lease) await leases.end(lease, successAt);
      if (successAt === null) return;
      job.durationMs = performance.now() - begunAt;
      note(job, { since: successAt, lastSuccessAt: successAt });
      logger.info({ job: name, rows, duration_ms: Math.round(job.durationMs) }, "a scheduled job has run");
    } catch (error) {
      job.failures += 1;
      logger.warn({ err: error, job: name }, "a scheduled job failed; it runs again at its next time");
      if (leases && lease)
        await leases.end(lease, null).catch((cause: unknown) => {
          logger.warn({ err: cause, job: name }, "the lease of a scheduled job was not given back; it expires");
        });
    }
  }

  function guard(leases: JobLeases, lease: JobLease): NonNullable<LongWork["enter"]> {
    return async (tx) => {
      if (await leases.renew(tx, lease, now() + LEASE_MS)) return;
      throw new Error("Its lease expired and another process has taken it over.");
    };
  }

  /** Another process's success counts as this one's. A time that is still to come was written by a clock that ran ahead. */
  function note(job: Scheduled, { since, lastSuccessAt }: JobState): void {
    job.freshAt = Math.min(lastSuccessAt ?? since, now());
    job.lastSuccessAt = lastSuccessAt;
  }

  async function begin(jobs: readonly Scheduled[]): Promise<void> {
    for (const job of jobs) {
      try {
        if (job.leases) note(job, await job.leases.stateOf(job.name, now()));
      } catch (error) {
        logger.warn({ err: error, job: job.name }, "when a scheduled job ran last could not be read");
      }
    }
    if (jobs.some((job) => isOverdue(job, 1))) void passLater((job) => jobs.includes(job) && isOverdue(job, 1));
  }

  return {
    add(added) {
      const jobs = added.map((job): Scheduled => {
        const fresh = { running: null, freshAt: now(), lastSuccessAt: null, durationMs: null, rows: 0, failures: 0 };
        return { ...job, ...fresh, stopping: new AbortController() };
      });
      for (const job of jobs) all.add(job);
      const begun = begin(jobs);
      cron ??= new Cron(schedule, { unref: true, protect: true, utcOffset: 0 }, () => passLater(() => true));
      return {
        health() {
          const late = jobs.filter((job) => isOverdue(job, OVERDUE_INTERVALS)).map(({ name }) => name);
          return {
            name: "jobs",
            status: late.length === 0 ? "healthy" : "degraded",
            essential: false,
            responseTimeMs: 0,
            ...(late.length > 0 && { detail: `Overdue: ${late.join(", ")}. The log says why.` }),
          };
        },
        gauges: () => jobs.flatMap(gaugesOf),
        async close() {
          for (const job of jobs) {
            job.stopping.abort();
            all.delete(job);
          }
          if (all.size === 0) {
            cron?.stop();
            cron = null;
          }
          await begun;
          for (const job of jobs) await job.running;
        },
      };
    },
  };
}

function gaugesOf({ name, lastSuccessAt, durationMs, rows, failures }: Scheduled): Gauge[] {
  const of = (metric: string, help: string, value: number) => ({
    name: `scheduled_job_${metric}`,
    help,
    labels: { job: name },
    value,
  });
  return [
    ...(lastSuccessAt === null
      ? []
      : [
          of(
            "last_success_timestamp_seconds",
            "When a job last ran to its end, in any process.",
            lastSuccessAt / 1_000,
          ),
        ]),
    ...(durationMs === null
      ? []
      : [of("duration_seconds", "How long the last run of a job took in this process.", durationMs / 1_000)]),
    of("rows_total", "Rows and files that a job removed.", rows),
    of("failures_total", "Runs of a job that failed.", failures),
  ];
}
