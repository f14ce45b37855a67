import type { ReplicaHandle, Runtime, RuntimeKind } from "@toolyard/runtimes/runtime.ts";
import { ToolyardError, type Logger } from "@toolyard/service-kit";
import { processNameOf, type Replica } from "../deployment.ts";
import type { DeploymentRecord } from "../store/deployment-store.ts";
import type { KnownRecords } from "./known-records.ts";

/** Compares the runtimes' processes with the rows of this host, both ways. */
export interface Census {
  /** Notes which processes are gone, begins to stop those without a row, and answers the rows. */
  take(): Promise<DeploymentRecord[]>;
  /** Whether the replica's process is known to be gone. */
  isGone(handle: ReplicaHandle): boolean;
  noteGone(handle: ReplicaHandle): void;
  /** The consequences of this process's end are written by now; its name is never used again. */
  forget(handle: ReplicaHandle): void;
  /** Waits for the processes that it began to stop. */
  settled(): Promise<void>;
}

export function createCensus(options: {
  known: Pick<KnownRecords, "refresh" | "isComplete">;
  runtimes: ReadonlyMap<RuntimeKind, Runtime>;
  logger: Logger;
  hostId: string;
  graceMs: number;
}): Census {
  const { known: records, runtimes, logger, hostId, graceMs } = options;
  const gone = new Set<string>();
  /** Runtimes that did not answer when they were last asked. */
  const away = new Set<RuntimeKind>();
  /** Processes without a row that are being stopped. */
  const strays = new Map<string, Promise<void>>();

  /** It may have been started after the list was made. */
  async function confirmGone(handle: ReplicaHandle): Promise<void> {
    const runtime = runtimes.get(handle.runtime);
    const liveness = runtime && (await unlessAway(runtime, () => runtime.inspect(handle)));
    if (liveness?.alive === false) gone.add(keyOf(handle));
  }

  /** Null where the runtime's engine does not answer: nothing is known of its replicas, which are left as they are. */
  async function unlessAway<Answer>(runtime: Runtime, ask: () => Promise<Answer>): Promise<Answer | null> {
    try {
      const answer = await ask();
      away.delete(runtime.kind);
      return answer;
    } catch (error) {
      if (!(error instanceof ToolyardError) || error.code !== "UPSTREAM_UNAVAILABLE") throw error;
      if (!away.has(runtime.kind))
        logger.warn(
          { err: error, runtime: runtime.kind },
          "a runtime does not answer; its replicas are left as they are",
        );
      away.add(runtime.kind);
      return null;
    }
  }

  async function stopStray(runtime: Runtime, handle: ReplicaHandle): Promise<void> {
    try {
      // It may have ended, as desired, after the list was made; its log is then still of use.
      if (!(await runtime.inspect(handle)).alive) return;
      logger.warn({ replica: handle.name }, "a replica runs that no deployment wants; it is stopped");
      await runtime.stop(handle, graceMs);
      await runtime.forget(handle);
    } catch (error) {
      logger.error({ err: error, replica: handle.name }, "stopping a replica failed; the next sweep tries again");
    } finally {
      strays.delete(keyOf(handle));
    }
  }

  return {
    async take() {
      const goneBefore = [...gone];
      const lists = [...runtimes.values()].map(async (runtime) => {
        const running = await unlessAway(runtime, () => runtime.list());
        return (running ?? []).map(({ handle }) => ({ handle, runtime }));
      });
      const listed = (await Promise.all(lists)).flat();
      // Read after the list: a row is written before its process is started, so a process listed without a row has none.
      const found = await records.refresh();
      const running = new Set(listed.map(({ handle }) => keyOf(handle)));
      const known = new Set<string>();
      const named = new Set(
        found.flatMap(({ replicas }) =>
          replicas.flatMap(({ hostId: host, handle }) => (handle && host === hostId ? [keyOf(handle)] : [])),
        ),
      );
      for (const { deployment, replicas } of found) {
        const isElsewhere = runtimes.get(deployment.runtime)?.capabilities.location === "ELSEWHERE";
        for (const replica of replicas.filter((each) => (each.hostId === hostId || isElsewhere) && hasProcess(each))) {
          known.add(keyOf({ runtime: deployment.runtime, name: processNameOf(deployment, replica) }));
          if (replica.handle && !running.has(keyOf(replica.handle))) await confirmGone(replica.handle);
        }
      }
      // It may belong to a row that cannot be read.
      if (!records.isComplete()) return found;
      // Nobody needs them any more: their start failed, or their row is gone.
      for (const key of goneBefore) if (!known.has(key) && !named.has(key)) gone.delete(key);
      for (const { handle, runtime } of listed) {
        const key = keyOf(handle);
        if (known.has(key) || strays.has(key)) continue;
        // Registered before it runs, since it may be over at once.
        strays.set(key, Promise.resolve());
        strays.set(key, stopStray(runtime, handle));
      }
      return found;
    },
    isGone: (handle) => gone.has(keyOf(handle)),
    noteGone(handle) {
      gone.add(keyOf(handle));
    },
    forget(handle) {
      gone.delete(keyOf(handle));
    },
    async settled() {
      await Promise.allSettled(strays.values());
    },
  };
}

/** Whether there may be a process of it. */
export function hasProcess({ state }: Replica): boolean {
  return (
    state.phase === "STARTING" || state.phase === "READY" || state.phase === "UNHEALTHY" || state.phase === "STOPPING"
  );
}

/** A process's name contains its ordinal number, so that it is used once. */
function keyOf({ runtime, name }: Pick<ReplicaHandle, "runtime" | "name">): string {
  return `${runtime}/${name}`;
}
