import { newId } from "@toolyard/service-kit";
import { ODD_TEXTS, testMethods } from "@toolyard/testing/port-contract.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Claim, IdempotencyStore, Room } from "./idempotency-store.ts";

const NOW = 1_800_000_000_123;
const DAY_MS = 86_400_000;
const room: Room = { entries: 100, characters: 10_000_000 };

/** What every adapter of IdempotencyStore must show. @param open The same store, as two processes, or two parts of one, have it */
export function idempotencyStoreContract(
  name: string,
  open: () => Promise<{ stores: readonly [IdempotencyStore, IdempotencyStore]; close(): Promise<void> }>,
): void {
  describe(`IdempotencyStore on ${name}`, () => {
    let opened: Awaited<ReturnType<typeof open>>;
    let store: IdempotencyStore;
    beforeAll(async () => {
      opened = await open();
      [store] = opened.stores;
    });
    afterAll(() => opened.close());

    const claimOf = (more: Partial<Claim> = {}): Claim => ({
      id: newId(),
      callerId: newId(),
      fingerprint: "f",
      runningUntil: NOW + 10,
      expiresAt: NOW + DAY_MS,
      ...more,
    });
    async function keep(claim: Claim, answer: string): Promise<void> {
      expect(await store.claim(claim, NOW, room)).toEqual({ state: "claimed" });
      await store.finish(claim.id, answer);
    }

    testMethods<IdempotencyStore>({
      claim() {
        test("gives an id to one of those who claim it at once, in any process, and its entry to the others", async () => {
          const claim = claimOf();
          const all = await Promise.all(
            [0, 1, 0, 1].map((n) => opened.stores[n === 0 ? 0 : 1].claim(claim, NOW, room)),
          );
          expect(all.filter(({ state }) => state === "claimed")).toHaveLength(1);
          const { fingerprint, runningUntil } = claim;
          expect(all.filter(({ state }) => state === "known")).toEqual(
            [1, 2, 3].map(() => ({ state: "known", entry: { fingerprint, runningUntil, answer: null } })),
          );
        });

        test("takes an entry that has expired as none, from that moment on", async () => {
          const claim = claimOf();
          await keep(claim, "old");
          expect(await store.claim(claim, claim.expiresAt - 1, room)).toMatchObject({ entry: { answer: "old" } });
          const next = { ...claim, fingerprint: "other", expiresAt: claim.expiresAt + DAY_MS };
          expect(await store.claim(next, claim.expiresAt, room)).toEqual({ state: "claimed" });
          expect(await store.claim(next, claim.expiresAt, room)).toMatchObject({
            entry: { fingerprint: "other", answer: null },
          });
        });

        test("gives a caller as many entries as there is room for, beside others'", async () => {
          const callerId = newId();
          const few = { ...room, entries: 2 };
          const first = claimOf({ callerId, expiresAt: NOW + 5 });
          for (const claim of [first, claimOf({ callerId, expiresAt: NOW + 9 })])
            expect(await store.claim(claim, NOW, few)).toEqual({ state: "claimed" });
          expect(await store.claim(claimOf({ callerId }), NOW, few)).toEqual({ state: "full", until: NOW + 5 });
          expect(await store.claim(first, NOW, few)).toMatchObject({ state: "known" });
          expect(await store.claim(claimOf(), NOW, few)).toEqual({ state: "claimed" });
          expect(await store.claim(claimOf({ callerId }), NOW + 5, few)).toEqual({ state: "claimed" });
        });

        test("counts the characters of a caller's answers", async () => {
          const callerId = newId();
          const little = { ...room, characters: 10 };
          await keep(claimOf({ callerId }), "123456789");
          const second = claimOf({ callerId });
          expect(await store.claim(second, NOW, little)).toEqual({ state: "claimed" });
          await store.finish(second.id, "0");
          expect(await store.claim(claimOf({ callerId }), NOW, little)).toMatchObject({ state: "full" });
        });

        test("takes ids as they are", async () => {
          const mark = newId();
          const callers = newId();
          for (const text of ODD_TEXTS)
            expect(await store.claim(claimOf({ id: `${mark}${text}`, callerId: callers }), NOW, room), text).toEqual({
              state: "claimed",
            });
        });
      },

      finish() {
        test("keeps the answer, for every process", async () => {
          const claim = claimOf();
          const answer = "\u{1f600}\\u0000".repeat(50_000);
          await keep(claim, answer);
          expect(await opened.stores[1].claim(claim, NOW, room)).toMatchObject({ entry: { answer } });
        });
      },

      release() {
        test("lets go of an id without an answer, and of no other", async () => {
          const claim = claimOf();
          await store.claim(claim, NOW, room);
          await store.release(claim.id);
          await keep(claim, "kept");
          await store.release(claim.id);
          expect(await store.claim(claim, NOW, room)).toMatchObject({ entry: { answer: "kept" } });
          await store.release(newId());
        });
      },

      abandon() {
        test("says of an id without an answer that none comes, and of no other, to every process", async () => {
          const [claim, kept] = [claimOf(), claimOf()];
          await store.claim(claim, NOW, room);
          await keep(kept, "kept");
          for (const { id } of [claim, kept, claimOf()]) await store.abandon(id);
          expect(await opened.stores[1].claim(claim, NOW, room)).toMatchObject({
            entry: { runningUntil: 0, answer: null },
          });
          expect(await opened.stores[1].claim(kept, NOW, room)).toMatchObject({ entry: { answer: "kept" } });
        });
      },

      purge() {
        test("removes what has expired, however many, and nothing else", async () => {
          await store.purge(NOW - 1);
          const callerId = newId();
          const many = { ...room, entries: 10_000 };
          for (let n = 0; n < 1_201; n++) await store.claim(claimOf({ callerId, expiresAt: NOW - 1 }), NOW - 2, many);
          const kept = claimOf({ callerId, expiresAt: NOW });
          await store.claim(kept, NOW - 2, many);
          expect(await store.purge(NOW - 1)).toBe(1_201);
          expect(await store.claim(kept, NOW - 1, many)).toMatchObject({ state: "known" });
          expect(await store.purge(NOW - 1)).toBe(0);
        });
      },

      leases() {
        test("are of the store, whichever process takes them", async () => {
          const leases = opened.stores.flatMap((each) => each.leases ?? []);
          const claim = { now: NOW, leaseMs: 1_000, unlessRunSince: 0 };
          const taken = await Promise.all(
            leases.map(async (each, index) => {
              await each.stateOf("a", NOW);
              return each.take("a", { ...claim, runner: String(index) });
            }),
          );
          expect(taken.filter((lease) => lease !== null)).toHaveLength(leases.length / 2);
        });
      },

      close() {
        test("ends one process's part", async () => {
          const { stores, close } = await open();
          await stores[0].close();
          expect(await stores[1].claim(claimOf(), NOW, room)).toEqual({ state: "claimed" });
          await close();
        });
      },
    });
  });
}
