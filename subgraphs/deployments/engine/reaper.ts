import type { ReplicaHandle, Runtime, RuntimeKind } from "@toolyard/runtimes/runtime.ts";
import type { Logger } from "@toolyard/service-kit";
import type { Deployment, Replica } from "../deployment.ts";
import type { KnownSecrets } from "../logs/known-secrets.ts";
import { MAX_LINES, type LogArchive } from "../logs/log-archive.ts";

/** Forgets an ended process of a replica; its last output is kept. */
export type Reap = (deployment: Deployment, replica: Replica, handle: ReplicaHandle) => Promise<void>;

export function createReaper(options: {
  runtimes: ReadonlyMap<RuntimeKind, Runtime>;
  archive: LogArchive;
  secrets: KnownSecrets;
  logger: Logger;
}): Reap {
  const { runtimes, archive, secrets, logger } = options;
  return async (deployment, replica, handle) => {
    const runtime = runtimes.get(deployment.runtime);
    if (!runtime) return;
    try {
      const mask = secrets.mask(deployment, replica);
      const lines = (await runtime.logs(handle, MAX_LINES)).map((line) => ({ ...line, text: mask.text(line.text) }));
      await archive.keep({ deploymentId: deployment.id, replicaId: replica.id, name: handle.name }, lines);
    } catch (error) {
      // A full disk must not keep a process from ending.
      logger.warn({ err: error, replica: handle.name }, "the output of an ended replica could not be kept");
    }
    await runtime.forget(handle);
  };
}
