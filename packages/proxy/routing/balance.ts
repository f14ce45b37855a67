import { hash } from "node:crypto";
import type { Balance } from "@toolyard/routes/balances.ts";

/** A replica as balancing sees it. */
export interface Candidate {
  readonly id: string;
  readonly ready: boolean;
  /** Calls under way. */
  readonly outstanding: number;
  /** When it got a call that was not bound to it, as a count of such calls; 0: never. */
  readonly turn: number;
  readonly health: { isTripped(now: number): boolean };
}

/** Deployments that share a route, each with its share of the calls in percent. */
export interface Weighted<Replica extends Candidate> {
  readonly weight: number;
  readonly balance: Balance;
  readonly replicas: readonly Replica[];
}

export interface PickOptions {
  now: number;
  /** The same for all calls of a caller. */
  caller: string;
  /** 0 ≤ x < 1, as Math.random. */
  random: () => number;
  /** Ids of replicas that were tried in vain for this call. */
  tried?: ReadonlySet<string>;
}

/**
 * Chooses where a call goes: a deployment by weight among those that have a ready replica, then one of its replicas by its balance. Null when
 * nothing is ready.
 */
export function pickReplica<Replica extends Candidate, Deployment extends Weighted<Replica>>(
  deployments: readonly Deployment[],
  options: PickOptions,
): { deployment: Deployment; replica: Replica } | null {
  const [only] = deployments;
  if (deployments.length === 1 && only) return pickIn(only, usable(only.replicas, options), options);
  const open: { deployment: Deployment; replicas: readonly Replica[] }[] = [];
  for (const deployment of deployments) {
    const replicas = usable(deployment.replicas, options);
    if (replicas.length > 0) open.push({ deployment, replicas });
  }
  const chosen = open.length <= 1 ? open[0] : byWeight(open, options.random);
  return chosen ? pickIn(chosen.deployment, chosen.replicas, options) : null;
}

function pickIn<Replica extends Candidate, Deployment extends Weighted<Replica>>(
  deployment: Deployment,
  replicas: readonly Replica[],
  options: PickOptions,
): { deployment: Deployment; replica: Replica } | null {
  const replica = replicaBy[deployment.balance](replicas, options);
  return replica === undefined ? null : { deployment, replica };
}

/** Ready ones; without tripped ones unless all are. */
function usable<Replica extends Candidate>(
  replicas: readonly Replica[],
  { now, tried }: PickOptions,
): readonly Replica[] {
  const [only] = replicas;
  if (replicas.length === 1 && only) return only.ready && !tried?.has(only.id) ? replicas : [];
  const ready = replicas.filter((replica) => replica.ready && !tried?.has(replica.id));
  const sound = ready.filter(({ health }) => !health.isTripped(now));
  return sound.length > 0 ? sound : ready;
}

function byWeight<Entry extends { deployment: { weight: number } }>(
  entries: readonly Entry[],
  random: () => number,
): Entry | undefined {
  const total = entries.reduce((sum, { deployment }) => sum + Math.max(0, deployment.weight), 0);
  // Weights that are all zero are ignored.
  if (total <= 0) return entries[Math.floor(random() * entries.length)];
  let left = random() * total;
  for (const entry of entries) {
    left -= Math.max(0, entry.deployment.weight);
    if (left < 0) return entry;
  }
  return entries.findLast(({ deployment }) => deployment.weight > 0);
}

type Choice = <Replica extends Candidate>(replicas: readonly Replica[], options: PickOptions) => Replica | undefined;

const replicaBy: Record<Balance, Choice> = {
  LEAST_OUTSTANDING: lessBusyOfTwo,
  ROUND_ROBIN: longestWithout,
  STICKY: ownOf,
};

/** "The power of two choices" (Mitzenmacher 2001). */
function lessBusyOfTwo<Replica extends Candidate>(
  replicas: readonly Replica[],
  { random }: PickOptions,
): Replica | undefined {
  if (replicas.length <= 1) return replicas[0];
  const first = Math.floor(random() * replicas.length);
  const other = (first + 1 + Math.floor(random() * (replicas.length - 1))) % replicas.length;
  const [a, b] = [replicas[first], replicas[other]];
  return a && b && b.outstanding < a.outstanding ? b : a;
}

/** Without a place in a circle, since replicas come and go: one that is new, or was left out, is next once. */
function longestWithout<Replica extends Candidate>(replicas: readonly Replica[]): Replica | undefined {
  return highest(replicas, ({ turn }) => -turn);
}

/** Rendezvous hashing (Thaler and Ravishankar 1998): a replica that goes moves only its own callers, one that comes takes its share of each other's. */
function ownOf<Replica extends Candidate>(replicas: readonly Replica[], { caller }: PickOptions): Replica | undefined {
  return replicas.length <= 1 ? replicas[0] : highest(replicas, ({ id }) => hash("sha256", `${id} ${caller}`));
}

/** The first of those with the highest value. */
function highest<Item, Value extends string | number>(
  items: readonly Item[],
  valueOf: (item: Item) => Value,
): Item | undefined {
  let found: { item: Item; value: Value } | undefined;
  for (const item of items) {
    const value = valueOf(item);
    if (found === undefined || value > found.value) found = { item, value };
  }
  return found?.item;
}
