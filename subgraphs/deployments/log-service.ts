import type { EventTail } from "@toolyard/events";
import type { ReplicaLogLine, Runtime, RuntimeKind } from "@toolyard/runtimes/runtime.ts";
import type { SecretMask } from "@toolyard/service-kit/secret-mask.ts";
import { badInput, type Caller, type Logger } from "@toolyard/service-kit";
import type { Deployment, DeploymentEventPayload, Replica } from "./deployment.ts";
import { requireDeployment } from "./deployment-reference.ts";
import type { DeploymentStore } from "./deployment-store.ts";
import { requireInspect } from "./inspection.ts";
import type { KnownSecrets } from "./known-secrets.ts";
import { createLogMerge } from "./log-merge.ts";

export interface LogLine extends ReplicaLogLine {
  replicaId: string;
}

/**
 * What replicas print. It may hold users' data: only for those who may inspect the deployment. Known secrets are hidden: a bridge
 * does so before it writes, but a server that speaks HTTP itself writes to its files directly.
 */
export interface LogService {
  last(caller: Caller, deployment: Deployment, options: { last: number; replicaId: string | null }): Promise<LogLine[]>;
  /** New lines of all its replicas, also of those that start later. */
  follow(caller: Caller, reference: string): Promise<AsyncIterableIterator<LogLine>>;
}

const MAX_LINES = 1_000;
/** As in "You may not …". */
const LOGS = "read this deployment's logs";

export function createLogService(options: {
  store: DeploymentStore;
  runtimes: readonly Runtime[];
  secrets: KnownSecrets;
  eventTail: EventTail<DeploymentEventPayload>;
  logger: Logger;
}): LogService {
  const { store, secrets, eventTail, logger } = options;
  const runtimes: ReadonlyMap<RuntimeKind, Runtime> = new Map(
    options.runtimes.map((runtime) => [runtime.kind, runtime]),
  );

  return {
    async last(caller, deployment, { last, replicaId }) {
      requireInspect(caller, deployment, LOGS);
      if (last < 1 || last > MAX_LINES) throw badInput([{ path: "last", message: `must be from 1 to ${MAX_LINES}` }]);
      const runtime = runtimes.get(deployment.runtime);
      if (!runtime) return [];
      const replicas = (await store.replicasOf([deployment.id])).filter(
        ({ id }) => replicaId === null || id === replicaId,
      );
      const lines = await Promise.all(
        replicas.map((replica) => linesOf(runtime, replica, last, secrets.mask(deployment, replica))),
      );
      return lines
        .flat()
        .toSorted((a, b) => a.at - b.at)
        .slice(-last);
    },
    async follow(caller, reference) {
      caller.require("deployment:inspect", undefined, LOGS);
      const deployment = await requireDeployment(store, { id: reference });
      requireInspect(caller, deployment, LOGS);
      const runtime = runtimes.get(deployment.runtime) ?? null;
      return createLogMerge({ deployment, runtime, store, secrets, eventTail, logger });
    },
  };
}

async function linesOf(runtime: Runtime, replica: Replica, last: number, mask: SecretMask): Promise<LogLine[]> {
  const handles = [replica.previousHandle, replica.handle].filter((handle) => handle !== null);
  const lines = await Promise.all(handles.map((handle) => runtime.logs(handle, last)));
  return lines.flat().map((line) => ({ ...line, text: mask.text(line.text), replicaId: replica.id }));
}
