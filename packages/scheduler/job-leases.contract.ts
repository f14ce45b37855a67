import type { Transaction } from "@toolyard/storage";
import { testMethods } from "@toolyard/testing/port-contract.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { JobLease, JobLeases } from "./job-leases.ts";

const NOW = 1_800_000_000_123;
const LEASE_MS = 1_000;

/** The same leases as two processes have them. */
interface OpenLeases {
  leases: readonly [JobLeases, JobLeases];
  /** In a write transaction of the first one's database. */
  transaction<Result>(work: (tx: Transaction) => Promise<Result>): Promise<Result>;
  close(): Promise<void>;
}

export function jobLeasesContract(name: string, open: () => Promise<OpenLeases>): void {
  describe(`JobLeases on ${name}`, () => {
    let opened: OpenLeases;
    let one: JobLeases;
    let other: JobLeases;
    let count = 0;
    beforeAll(async () => {
      opened = await open();
      [one, other] = opened.leases;
    });
    afterAll(() => opened.close());

    /** Known since NOW. */
    async function newJob(): Promise<string> {
      const job = `job-${++count}`;
      await one.stateOf(job, NOW);
      return job;
    }
    const claim = { runner: "one", now: NOW, leaseMs: LEASE_MS, unlessRunSince: NOW - 500 };
    async function taken(by: JobLeases, job: string, more: Partial<typeof claim> = {}): Promise<JobLease> {
      const lease = await by.take(job, { ...claim, ...more });
      if (!lease) throw new Error(`${job} was not to be had.`);
      return lease;
    }
    const renew = (lease: JobLease, until = NOW + LEASE_MS) => opened.transaction((tx) => one.renew(tx, lease, until));

    testMethods<JobLeases>({
      stateOf() {
        test("begins when it is asked for first, in any process, and once where several ask at once", async () => {
          const states = await Promise.all([one.stateOf("first", NOW), other.stateOf("first", NOW + 1)]);
          expect(new Set(states.map(({ since }) => since)).size).toBe(1);
          expect(await other.stateOf("first", NOW + 5)).toMatchObject({ since: states[0].since, lastSuccessAt: null });
        });
      },

      take() {
        test("gives one runner the job, however many ask at once", async () => {
          const job = await newJob();
          const all = await Promise.all([one, other, one, other].map((each) => each.take(job, claim)));
          expect(all.filter((lease) => lease !== null)).toHaveLength(1);
        });

        test("gives it to another once the lease has expired, with a higher token", async () => {
          const job = await newJob();
          const dead = await taken(one, job);
          const late = { runner: "two", now: NOW + LEASE_MS - 1 };
          expect(await other.take(job, { ...claim, ...late })).toBeNull();
          const next = await taken(other, job, { ...late, now: NOW + LEASE_MS });
          expect(next.token).toBeGreaterThan(dead.token);
        });

        test("does not believe a lease that reaches further than any: a clock was set back", async () => {
          const job = await newJob();
          await taken(one, job, { now: NOW + 60_000 });
          await taken(other, job);
        });

        test("believes what others wrote by a clock that is a little ahead, or after the time was asked for", async () => {
          const job = await newJob();
          await one.end(await taken(one, job, { now: NOW + 5 }), NOW + 10);
          expect(await other.take(job, { ...claim, runner: "two" })).toBeNull();
          await taken(one, job, { now: NOW + 5 });
          expect(await other.take(job, { ...claim, unlessRunSince: NOW + 20 })).toBeNull();
        });

        test("leaves what another has just done with success, but not what the same runner did, or what failed", async () => {
          const job = await newJob();
          await one.end(await taken(one, job), NOW);
          expect(await other.take(job, { ...claim, runner: "two" })).toBeNull();
          await one.end(await taken(one, job), null);
          await taken(other, job, { runner: "two", unlessRunSince: NOW });
        });
      },

      renew() {
        test("holds the lease longer", async () => {
          const job = await newJob();
          expect(await renew(await taken(one, job), NOW + LEASE_MS + 500)).toBe(true);
          expect(await other.take(job, { ...claim, now: NOW + LEASE_MS, leaseMs: LEASE_MS })).toBeNull();
        });

        test("tells the one who came too late, within its transaction", async () => {
          const job = await newJob();
          const lost = await taken(one, job);
          await taken(other, job, { now: NOW + LEASE_MS });
          expect(await renew(lost)).toBe(false);
        });

        test("goes with its transaction", async () => {
          const job = await newJob();
          const lease = await taken(one, job);
          const fails = opened.transaction(async (tx) => {
            await one.renew(tx, lease, NOW + 10 * LEASE_MS);
            throw new Error("It failed.");
          });
          await expect(fails).rejects.toThrow("It failed.");
          await taken(other, job, { now: NOW + LEASE_MS });
        });
      },

      end() {
        test("gives the job back, and keeps when it was done", async () => {
          const job = await newJob();
          await one.end(await taken(one, job), NOW + 7);
          expect(await other.stateOf(job, NOW)).toMatchObject({ since: NOW, lastSuccessAt: NOW + 7 });
          const failed = await taken(other, job, { unlessRunSince: NOW + 7 });
          await other.end(failed, null);
          expect(await one.stateOf(job, NOW)).toMatchObject({ lastSuccessAt: NOW + 7 });
        });

        test("does nothing to a lease that was taken over", async () => {
          const job = await newJob();
          const lost = await taken(one, job);
          const held = await taken(other, job, { now: NOW + LEASE_MS });
          await one.end(lost, NOW);
          expect(await one.stateOf(job, NOW)).toMatchObject({ lastSuccessAt: null });
          expect(await renew(held)).toBe(true);
        });
      },
    });
  });
}
