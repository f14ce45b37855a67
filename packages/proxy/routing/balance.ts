/** A replica as balancing sees it. */
export interface Candidate {
  readonly id: string;
  readonly ready: boolean;
  /** Calls under way. */
  readonly outstanding: number;
  readonly health: { isTripped(now: number): boolean };
}

/** Deployments that share a route, each with its share of the calls in percent. */
export interface Weighted<Replica extends Candidate> {
  readonly weight: number;
  readonly replicas: readonly Replica[];
}

export interface PickOptions {
  now: number;
  /** 0 ≤ x < 1, as Math.random. */
  random: () => number;
  /** Ids of replicas that were tried in vain for this call. */
  tried?: ReadonlySet<string>;
}

/**
 * Chooses where a call goes: a deployment by weight among those that have a ready replica, then the less busy of two of its replicas
 * taken at random ("the power of two choices", Mitzenmacher 2001). Null when nothing is ready.
 */
export function pickReplica<Replica extends Candidate, Deployment extends Weighted<Replica>>(
  deployments: readonly Deployment[],
  options: PickOptions,
): { deployment: Deployment; replica: Replica } | null {
  const open: { deployment: Deployment; replicas: readonly Replica[] }[] = [];
  for (const deployment of deployments) {
    const replicas = usable(deployment.replicas, options);
    if (replicas.length > 0) open.push({ deployment, replicas });
  }
  const chosen = open.length <= 1 ? open[0] : byWeight(open, options.random);
  if (!chosen) return null;
  const replica = lessBusyOfTwo(chosen.replicas, options.random);
  return replica === undefined ? null : { deployment: chosen.deployment, replica };
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

function lessBusyOfTwo<Replica extends Candidate>(
  replicas: readonly Replica[],
  random: () => number,
): Replica | undefined {
  if (replicas.length <= 1) return replicas[0];
  const first = Math.floor(random() * replicas.length);
  const other = (first + 1 + Math.floor(random() * (replicas.length - 1))) % replicas.length;
  const [a, b] = [replicas[first], replicas[other]];
  return a && b && b.outstanding < a.outstanding ? b : a;
}
