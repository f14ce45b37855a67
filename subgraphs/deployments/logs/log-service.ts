import type { EventTail } from "@toolyard/events";
import type { LogsFrom, ReplicaHandle, Runtime, RuntimeKind } from "@toolyard/runtimes/runtime.ts";
import type { SecretMask } from "@toolyard/service-kit/secret-mask.ts";
import { badInput, notFound, type Caller, type Logger, type ShareChange, type ToolShares } from "@toolyard/service-kit";
import type { Deployment, DeploymentEventPayload, Replica } from "../deployment.ts";
import { requireDeployment } from "../deploying/deployment-reference.ts";
import type { DeploymentStore } from "../store/deployment-store.ts";
import type { OtherHosts } from "../hosts/other-hosts.ts";
import type { Loaders } from "../loaders.ts";
import type { KnownSecrets } from "./known-secrets.ts";
import { MAX_LINES, type ArchivedLine, type LogArchive } from "./log-archive.ts";
import { createLogMerge } from "./log-merge.ts";
import { whileShared } from "./while-shared.ts";

/**
 * The output of replicas, running and ended. It may hold users' data, so only callers who may inspect the deployment see it. Known secrets
 * are hidden here: a bridge hides them before it writes, but a server that speaks HTTP itself writes to its files directly.
 */
export interface LogService {
  last(
    caller: Caller,
    loaders: Pick<Loaders, "replicas">,
    deployment: Deployment,
    options: { last: number; replicaId: string | null },
  ): Promise<ArchivedLine[]>;
  /** New lines of all its replicas, and all of those that start later. */
  follow(caller: Caller, reference: string): Promise<AsyncIterableIterator<ArchivedLine>>;
  /** For another host, which has seen to who asks: `last` of this host alone. */
  lastHere(
    caller: Caller,
    deploymentId: string,
    options: { last: number; replicaId: string | null },
  ): Promise<ArchivedLine[]>;
  /** Likewise `follow`; of the replicas that are there now, too, all that they have printed, with "START". */
  followHere(caller: Caller, deploymentId: string, from: LogsFrom): Promise<AsyncIterableIterator<ArchivedLine>>;
}

/** As in "You may not …". */
const LOGS = "read this deployment's logs";

export function createLogService(options: {
  store: DeploymentStore;
  shares: ToolShares;
  shareChanges: (signal: AbortSignal) => AsyncIterable<ShareChange>;
  runtimes: readonly Runtime[];
  hostId: string;
  otherHosts: OtherHosts;
  archive: LogArchive;
  secrets: KnownSecrets;
  eventTail: EventTail<DeploymentEventPayload>;
  logger: Logger;
}): LogService {
  const { store, shares, shareChanges, hostId, otherHosts, archive, secrets, eventTail, logger } = options;
  const runtimes: ReadonlyMap<RuntimeKind, Runtime> = new Map(
    options.runtimes.map((runtime) => [runtime.kind, runtime]),
  );

  interface Wanted {
    last: number;
    replicaId: string | null;
  }

  async function lastOf(deployment: Deployment, all: readonly Replica[], { last, replicaId }: Wanted) {
    const runtime = runtimes.get(deployment.runtime);
    const replicas = all.filter(
      (replica) => replica.hostId === hostId && (replicaId === null || replica.id === replicaId),
    );
    const present = new Map<string, ArchivedLine[]>();
    for (const replica of runtime ? replicas : []) {
      const mask = secrets.mask(deployment, replica);
      for (const handle of [replica.previousHandle, replica.handle])
        if (handle && runtime) present.set(handle.name, await linesOf(runtime, replica, handle, last, mask));
    }
    // After the others: one that is forgotten meanwhile is there by then, in place of where it is empty now.
    const except = new Set([...present].flatMap(([name, lines]) => (lines.length > 0 ? [name] : [])));
    const past = await archive.readLast(deployment.id, { last, replicaId, except });
    return newest([...past, ...[...present.values()].flat()], last);
  }

  async function deploymentFor(caller: Caller, id: string): Promise<Deployment> {
    caller.require("internal:hosts");
    const deployment = await store.find(id);
    if (!deployment) throw notFound("deployment", id);
    return deployment;
  }

  return {
    async last(caller, loaders, deployment, wanted) {
      await shares.require(caller, "deployment:inspect", deployment, LOGS);
      const { last } = wanted;
      if (last < 1 || last > MAX_LINES) throw badInput([{ path: "last", message: `must be from 1 to ${MAX_LINES}` }]);
      const replicas = await loaders.replicas.load(deployment.id);
      const [here, elsewhere] = await Promise.all([
        lastOf(deployment, replicas, wanted),
        otherHosts.logs(deployment.id, replicas, wanted),
      ]);
      return newest([...here, ...elsewhere], last);
    },
    async lastHere(caller, deploymentId, wanted) {
      const deployment = await deploymentFor(caller, deploymentId);
      return lastOf(deployment, await store.replicasOf([deploymentId]), wanted);
    },
    async followHere(caller, deploymentId, from) {
      const deployment = await deploymentFor(caller, deploymentId);
      const runtime = runtimes.get(deployment.runtime) ?? null;
      return createLogMerge({ deployment, runtime, hostId, otherHosts: null, store, secrets, eventTail, logger, from });
    },
    async follow(caller, reference) {
      caller.require("deployment:inspect", undefined, LOGS);
      const deployment = await requireDeployment(store, { id: reference }, caller);
      const runtime = runtimes.get(deployment.runtime) ?? null;
      const check = () => shares.require(caller, "deployment:inspect", deployment, LOGS);
      await check();
      const lines = createLogMerge({ deployment, runtime, hostId, otherHosts, store, secrets, eventTail, logger });
      if (caller.can("deployment:inspect", deployment)) return lines;
      return whileShared(lines, {
        changes: shareChanges,
        isConcerned: ({ toolId, userId }) => toolId === deployment.toolId && userId === caller.userId,
        check,
      });
    },
  };
}

function newest(lines: readonly ArchivedLine[], count: number): ArchivedLine[] {
  return lines.toSorted((a, b) => a.at - b.at).slice(-count);
}

async function linesOf(
  runtime: Runtime,
  replica: Replica,
  handle: ReplicaHandle,
  last: number,
  mask: SecretMask,
): Promise<ArchivedLine[]> {
  const lines = await runtime.logs(handle, last);
  return lines.map((line) => ({ ...line, text: mask.text(line.text), replicaId: replica.id }));
}
