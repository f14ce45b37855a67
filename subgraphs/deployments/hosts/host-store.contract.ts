import type { Transaction } from "@toolyard/storage";
import { testMethods } from "@toolyard/testing/port-contract.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { offerOf, type Host } from "./host.ts";
import type { HostLease, HostStore } from "./host-store.ts";

const NOW = 1_800_000_000_123;
const LEASE_MS = 1_000;
const at = (now: number) => ({ now, leaseMs: LEASE_MS });
const offer = offerOf(
  { address: "10.0.0.1", url: "http://10.0.0.1:4005/graphql", portRange: { first: 1, last: 2 } },
  [],
);

/** The same hosts as two processes have them. */
interface OpenHosts {
  hosts: readonly [HostStore, HostStore];
  /** In a write transaction of the first one's database. */
  transaction<Result>(work: (tx: Transaction) => Promise<Result>): Promise<Result>;
  /** Gives a replica to a host. */
  addReplica(hostId: string): Promise<void>;
  close(): Promise<void>;
}

export function hostStoreContract(name: string, open: () => Promise<OpenHosts>): void {
  describe(`HostStore on ${name}`, () => {
    let opened: OpenHosts;
    let one: HostStore;
    let other: HostStore;
    let count = 0;
    beforeAll(async () => {
      opened = await open();
      [one, other] = opened.hosts;
    });
    afterAll(() => opened.close());

    const newId = () => `host-${++count}`;
    async function joined(id = newId(), { by = one, owner = "a", now = NOW } = {}): Promise<HostLease> {
      const lease = await by.join({ id, owner, offer }, at(now));
      if (!("token" in lease)) throw new Error(`${id} is held.`);
      return lease;
    }
    async function hostOf({ id }: { id: string }): Promise<Host> {
      const host = (await other.all()).find((each) => each.id === id);
      if (!host) throw new Error(`There is no ${id}.`);
      return host;
    }
    const hold = (lease: HostLease) => opened.transaction((tx) => one.hold(tx, lease));
    const enter = async () => undefined;

    testMethods<HostStore>({
      now() {
        test("is one clock for all, in milliseconds", async () => {
          const [first, second] = [await one.now(), await other.now()];
          expect(second).toBeGreaterThanOrEqual(first);
          expect(second - first).toBeLessThan(60_000);
          expect(Math.abs(first - Date.now())).toBeLessThan(60_000);
          expect(Number.isInteger(first)).toBe(true);
        });
      },

      join() {
        test("gives the host to one process, however many ask at once", async () => {
          const id = newId();
          const all = await Promise.all(
            ["a", "b", "c", "d"].map((owner, n) => (n % 2 ? one : other).join({ id, owner, offer }, at(NOW))),
          );
          expect(all.filter((each) => "token" in each)).toHaveLength(1);
          expect(all.filter((each) => "heldUntil" in each)).toEqual(
            Array.from({ length: 3 }, () => ({ heldUntil: NOW + LEASE_MS })),
          );
        });

        test("gives it to another when the lease has ended, with a higher token, and what it offers", async () => {
          const { id, token } = await joined();
          const late = at(NOW + LEASE_MS);
          const next = await other.join({ id, owner: "b", offer: { ...offer, url: null } }, late);
          expect(next).toEqual({ id, token: token + 1 });
          expect(await hostOf({ id })).toEqual({
            id,
            token: token + 1,
            owner: "b",
            heardAt: late.now,
            leaseUntil: late.now + LEASE_MS,
            offer: { ...offer, url: null },
          });
        });

        test("gives it at once to the same owner, and does not believe a lease that reaches too far", async () => {
          const { id, token } = await joined();
          expect(await joined(id, { by: other })).toEqual({ id, token: token + 1 });
          const ahead = await joined(undefined, { now: NOW + 10 * LEASE_MS });
          expect(await joined(ahead.id, { owner: "b" })).toEqual({ id: ahead.id, token: 2 });
        });
      },

      renew() {
        test("holds the host longer, and does more in the same transaction", async () => {
          const lease = await joined();
          const also = () => Promise.reject(new Error("It failed."));
          await expect(one.renew(lease, at(NOW + 10), also)).rejects.toThrow("It failed.");
          expect(await hostOf(lease)).toMatchObject({ heardAt: NOW });
          expect(await other.renew(lease, at(NOW + 10))).toBe(true);
          expect(await hostOf(lease)).toMatchObject({ heardAt: NOW + 10, leaseUntil: NOW + 10 + LEASE_MS });
        });

        test("tells the one who came too late", async () => {
          const late = await joined();
          await joined(late.id, { by: other });
          expect(await one.renew(late, at(NOW))).toBe(false);
          expect(await one.renew({ id: "none", token: 1 }, at(NOW))).toBe(false);
        });
      },

      hold() {
        test("answers whether the host is still the caller's", async () => {
          const lease = await joined();
          expect(await hold(lease)).toBe(true);
          await joined(lease.id, { by: other });
          expect(await hold(lease)).toBe(false);
        });

        test("keeps others from taking the host until the transaction has ended", async () => {
          const lease = await joined();
          const order: string[] = [];
          const begun = Promise.withResolvers<void>();
          const go = Promise.withResolvers<void>();
          const work = opened.transaction(async (tx) => {
            expect(await one.hold(tx, lease)).toBe(true);
            begun.resolve();
            await go.promise;
            order.push("work");
          });
          await begun.promise;
          const taking = joined(lease.id, { by: other }).then(() => order.push("taken"));
          go.resolve();
          await Promise.all([work, taking]);
          expect(order).toEqual(["work", "taken"]);
        });
      },

      leave() {
        test("lets anybody join at once; the replicas wait for the lease, unless they are given up", async () => {
          const lease = await joined();
          await one.leave(lease, { giveUp: false });
          expect(await hostOf(lease)).toMatchObject({ owner: "", leaseUntil: NOW + LEASE_MS });
          expect(await hold(lease)).toBe(false);
          const next = await joined(lease.id, { owner: "b" });
          await one.leave(next, { giveUp: true });
          expect(await hostOf(lease)).toMatchObject({ leaseUntil: 0 });
        });

        test("does nothing to a host that is another's by now", async () => {
          const late = await joined();
          await joined(late.id, { by: other });
          await one.leave(late, { giveUp: true });
          expect(await hostOf(late)).toMatchObject({ owner: "a", leaseUntil: NOW + LEASE_MS });
        });
      },

      all() {
        test("answers the hosts by id", async () => {
          const ids = (await one.all()).map(({ id }) => id);
          expect(ids.length).toBeGreaterThan(1);
          expect(ids).toEqual(ids.toSorted());
        });
      },

      giveUp() {
        test("takes the host from its agent", async () => {
          const lease = await joined();
          expect(await other.giveUp(await hostOf(lease), enter)).toBe(true);
          expect(await one.renew(lease, at(NOW))).toBe(false);
          expect(await hold(lease)).toBe(false);
          expect(await hostOf(lease)).toMatchObject({ token: lease.token + 1, leaseUntil: 0, heardAt: NOW });
          expect(await joined(lease.id, { owner: "b" })).toEqual({ id: lease.id, token: lease.token + 2 });
        });

        test("does nothing where it was heard from meanwhile, or the leader is another", async () => {
          const lease = await joined();
          const read = await hostOf(lease);
          await one.renew(lease, at(NOW + 1));
          expect(await other.giveUp(read, enter)).toBe(false);
          const refused = other.giveUp(await hostOf(lease), () => Promise.reject(new Error("Not you.")));
          await expect(refused).rejects.toThrow("Not you.");
          expect(await one.renew(lease, at(NOW + 2))).toBe(true);
        });
      },

      trim() {
        test("removes hosts that were not heard from for long, unless there are replicas of theirs", async () => {
          const [old, used, young] = [
            await joined(undefined, { now: 5 }),
            await joined(undefined, { now: 5 }),
            await joined(undefined, { now: 10 }),
          ];
          await opened.addReplica(used.id);
          expect(await one.trim(10)).toBe(1);
          const left = (await one.all()).map(({ id }) => id);
          expect(left).not.toContain(old.id);
          expect(left).toEqual(expect.arrayContaining([used.id, young.id]));
        });
      },
    });
  });
}
