import type { Claim, Entry, IdempotencyStore } from "./idempotency-store.ts";

/** For a process that keeps no data: its entries end with it. */
export function createMemoryIdempotencyStore(): IdempotencyStore {
  const entries = new Map<string, Claim & Entry>();

  return {
    async claim(claim, now, room) {
      const known = entries.get(claim.id);
      if (known && known.expiresAt > now) {
        const { fingerprint, runningUntil, answer } = known;
        return { state: "known", entry: { fingerprint, runningUntil, answer } };
      }
      const others = [...entries.values()].filter(
        ({ callerId, expiresAt }) => callerId === claim.callerId && expiresAt > now,
      );
      const characters = others.reduce((sum, { answer }) => sum + (answer?.length ?? 0), 0);
      if (others.length >= room.entries || characters >= room.characters)
        return { state: "full", until: Math.min(...others.map(({ expiresAt }) => expiresAt)) };
      entries.set(claim.id, { ...claim, answer: null });
      return { state: "claimed" };
    },
    async finish(id, answer) {
      const entry = entries.get(id);
      if (entry) entry.answer = answer;
    },
    async release(id) {
      if (entries.get(id)?.answer === null) entries.delete(id);
    },
    async abandon(id) {
      const entry = entries.get(id);
      if (entry?.answer === null) entry.runningUntil = 0;
    },
    async purge(now) {
      const expired = [...entries.values()].filter(({ expiresAt }) => expiresAt <= now);
      for (const { id } of expired) entries.delete(id);
      return expired.length;
    },
    leases: null,
    async close() {
      entries.clear();
    },
  };
}
