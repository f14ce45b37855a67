import type { Transaction } from "@toolyard/storage";

/** The right to run a job until the lease expires or is renewed. Tokens of a job rise: of two runners, the one with the lower token is the late one. */
export interface JobLease {
  job: string;
  token: number;
}

/**
 * Whether a lease is held at `now`. One that reaches more than another lease's time beyond one taken now is none: a clock was set back. A holder may
 * have renewed it since `now` was asked for, or by a clock that is a little ahead.
 */
export function isLeaseHeld(until: number, now: number, leaseMs: number): boolean {
  return until > now && until <= now + 2 * leaseMs;
}

/** Times are epoch milliseconds. */
export interface JobState {
  /** When the job was first known to this store. */
  since: number;
  lastSuccessAt: number | null;
}

/**
 * Who runs the jobs of a store, in the store's own database, so that a transaction can tell whether its runner still has the lease. Several
 * processes may share it. `now` is the database's clock where it has one of its own.
 */
export interface JobLeases {
  /** Notes a job that is not known yet. */
  stateOf(job: string, now: number): Promise<JobState>;
  /**
   * Takes a known job unless another runner holds its lease (`isLeaseHeld`), or another has run it with success since `unlessRunSince`.
   */
  take(
    job: string,
    claim: { runner: string; now: number; leaseMs: number; unlessRunSince: number },
  ): Promise<JobLease | null>;
  /** Has the lease expire at `until`, within the transaction that it guards. False: it was taken over, and nothing may be written. */
  renew(tx: Transaction, lease: JobLease, until: number): Promise<boolean>;
  /** Lets go of the lease; does nothing where it was taken over. @param successAt null: the run failed */
  end(lease: JobLease, successAt: number | null): Promise<void>;
}
