import type { Transaction } from "@toolyard/storage";
import type { Host } from "./host.ts";

/** The right to act for a host, until it is another's. */
export interface HostLease {
  id: string;
  token: number;
}

interface Term {
  /** As `now` of the store answered. */
  now: number;
  leaseMs: number;
}

/** Which hosts there are, in the store of their replicas. Its answers are committed. */
export interface HostStore {
  /** Epoch milliseconds, by the clock of all who share the store. */
  now(): Promise<number>;
  /** Makes the caller the host's agent, unless another holds it. One with the same owner takes its place at once. */
  join(host: Pick<Host, "id" | "owner" | "offer">, term: Term): Promise<HostLease | { heldUntil: number }>;
  /** False: the host was given up, or is another's. With `also` in the same transaction. */
  renew(lease: HostLease, term: Term, also?: (tx: Transaction) => Promise<void>): Promise<boolean>;
  /** Within a transaction of the agent. False: as of `renew`, and nothing may be written; true holds until the transaction's end. */
  hold(tx: Transaction, lease: HostLease): Promise<boolean>;
  /** The agent ends. The host can be joined at once; its replicas stay with it until the lease ends, or are moved at once with `giveUp`. */
  leave(lease: HostLease, options: { giveUp: boolean }): Promise<void>;
  /** By id. */
  all(): Promise<Host[]>;
  /** Takes the host from its agent, if it has not renewed its lease since `host` was read; in a transaction of the leader. */
  giveUp(host: Host, enter: (tx: Transaction) => Promise<void>): Promise<boolean>;
  /** Removes hosts that were not heard from since `before`, unless replicas have them. @returns how many */
  trim(before: number): Promise<number>;
}
