import type { JobLeases } from "@toolyard/scheduler";
import type { LongWork } from "@toolyard/storage";

/** A request that its client named by a key. */
export interface Claim {
  /** Of caller, route and key. */
  id: string;
  /** Whose room it takes. */
  callerId: string;
  /** Tells its content from others', sealed. */
  fingerprint: string;
  /** When it is known, at the latest, whether there is an answer. Epoch ms, as all times here. */
  runningUntil: number;
  expiresAt: number;
}

export interface Entry {
  fingerprint: string;
  runningUntil: number;
  /** Sealed; null: there is none yet. */
  answer: string | null;
}

export type Claimed =
  | { state: "claimed" }
  | { state: "known"; entry: Entry }
  /** The caller has no room until the time at which the first of its entries expires. */
  | { state: "full"; until: number };

/** What one caller may have: entries, and characters of their answers. */
export interface Room {
  entries: number;
  characters: number;
}

/** Requests that were made under a key, and their answers. Several processes may share one. */
export interface IdempotencyStore {
  /**
   * Takes the id for one of those who claim it at once; the others get the entry, which has no answer until `finish`. An entry that has
   * expired is as none.
   */
  claim(claim: Claim, now: number, room: Room): Promise<Claimed>;
  /** Keeps the answer until the entry expires. */
  finish(id: string, answer: string): Promise<void>;
  /** Lets go of an id that was claimed and has no answer. */
  release(id: string): Promise<void>;
  /** Has an id that was claimed and has no answer get none: nobody knows what came of it. */
  abandon(id: string): Promise<void>;
  /** Removes what has expired, in bounded steps. @returns how many entries */
  purge(now: number, work?: LongWork): Promise<number>;
  /** Who removes it; null: each process has a store of its own. */
  readonly leases: JobLeases | null;
  close(): Promise<void>;
}
