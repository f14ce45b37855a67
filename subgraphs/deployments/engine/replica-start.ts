import { ToolyardError } from "@toolyard/service-kit";
import { SealedElsewhereError } from "@toolyard/service-kit/identity/sealing.ts";
import { openLaunch, resourcesOf } from "../deploying/launch-opening.ts";
import { newToken } from "../deploying/new-replica.ts";
import { processNameOf, type Replica } from "../deployment.ts";
import { CANNOT_KEEP_EGRESS, keepsEgress } from "../hosts/host.ts";
import type { DeploymentRecord } from "../store/deployment-store.ts";
import { currentOf, type ReplicaContext, type ReplicaJob } from "./replica-context.ts";

/** Starts replicas on their runtimes: a port where one is needed, then the process, then its first answer. */
export function createReplicaStart(context: ReplicaContext, awaitAnswer: ReplicaJob): ReplicaJob {
  const { runtimes, ports, sealer, secrets, reap, refusalsOf, logger, now, graceMs } = context;
  const { runtimeOf, apply, update, hidden } = context;

  /** A port on which nothing listens: its own, or another when a foreign process took that. */
  async function securePort(
    replica: Replica,
    begin: (port: number) => Promise<DeploymentRecord | null>,
  ): Promise<DeploymentRecord | null> {
    if (replica.port !== null && (await ports.isFree(replica.port))) return begin(replica.port);
    return ports.reserve(1, async ([port]) => (port === undefined ? null : begin(port)));
  }

  /** PENDING or BACKOFF to STARTING. Null when it is neither any more. */
  async function begin({ deployment }: DeploymentRecord, replica: Replica): Promise<DeploymentRecord | null> {
    const forgotten = replica.previousHandle;
    const enter = (port: number | null) =>
      apply(
        replica,
        { type: "start", generation: deployment.generation },
        {
          set: () => ({
            port,
            // A leaked token of an earlier process is of no use with this one.
            sealedToken: newToken(sealer, replica.id),
            handle: null,
            previousHandle: replica.handle,
            startedAt: now(),
            lastProbeAt: null,
          }),
        },
      );
    const { kind } = deployment.launch;
    const takesPort =
      kind !== "unreadable" && runtimes.get(deployment.runtime)?.needsPort(kind, replica.address) === true;
    const record = takesPort ? await securePort(replica, enter) : await enter(null);
    if (record && forgotten) await reap(deployment, replica, forgotten);
    return record;
  }

  async function launchProcess(
    record: DeploymentRecord,
    replica: Replica,
    signal: AbortSignal,
  ): Promise<Replica | null> {
    const { deployment } = record;
    const runtime = runtimeOf(deployment);
    // It may have been deployed where this runtime could.
    if (!keepsEgress(runtime.capabilities, deployment.launch))
      throw new ToolyardError("BAD_USER_INPUT", `The runtime ${runtime.kind} ${CANNOT_KEEP_EGRESS}`);
    const launch = openLaunch(deployment, sealer);
    const told: Promise<unknown>[] = [];
    const handle = await runtime.start(
      {
        replicaId: replica.id,
        deploymentId: deployment.id,
        userId: deployment.ownerId ?? deployment.id,
        name: processNameOf(deployment, replica),
        launch,
        host: replica.address,
        port: replica.port,
        token: sealer.open(replica.sealedToken, replica.id),
        secrets: secrets.of(deployment, replica),
        resources: resourcesOf(deployment.launch),
        options: deployment.launch.options,
      },
      signal,
      (reason) => {
        const { reason: waitsFor } = hidden(deployment, replica, { reason, words: null });
        const telling = update(replica, ({ state }) =>
          state.phase === "STARTING" ? { state: { ...state, waitsFor } } : {},
        );
        told.push(
          telling.catch((error: unknown) =>
            logger.warn({ err: error }, "the progress of a start could not be recorded"),
          ),
        );
      },
    );
    await Promise.all(told);
    const saved = await update(replica, ({ state }) => ({
      handle,
      // What was waited for, such as its image, is no news any more, nor part of its time to answer.
      ...(told.length > 0 && state.phase === "STARTING" && { state: begunAnew(state, now()) }),
    }));
    if (saved) return currentOf(saved, replica);
    // Its row was deleted while it was started: nobody wants it.
    await runtime.stop(handle, graceMs);
    return null;
  }

  return async function start(given, replica, signal) {
    let record: DeploymentRecord | null = given;
    let starting: Replica | null = replica;
    try {
      if (replica.state.phase !== "STARTING") {
        record = await begin(given, replica);
        starting = currentOf(record, replica);
      }
      if (!record || !starting) return;
      const running = await launchProcess(record, starting, signal);
      if (running && !signal.aborted) await awaitAnswer(record, running, signal);
    } catch (error) {
      if (signal.aborted) return; // The code that aborted this work stops the process.
      const foreseen = error instanceof ToolyardError;
      const isSealedElsewhere = error instanceof SealedElsewhereError;
      const permanent = isSealedElsewhere || (foreseen && error.code === "BAD_USER_INPUT");
      if (isSealedElsewhere)
        logger.error(
          { deployment: given.deployment.name, deployment_id: given.deployment.id },
          `${error.message} Start Toolyard again with it, and then restart this deployment, which is not tried again before.`,
        );
      else if (!foreseen)
        logger.warn({ err: error, deployment: given.deployment.name }, "a replica could not be started");
      const reason = foreseen ? error.message : "It cannot be started; Toolyard's log says why.";
      const why = hidden(given.deployment, replica, { reason, words: null });
      const at = starting ?? replica;
      const isPassing = foreseen && error.code === "UPSTREAM_UNAVAILABLE";
      if (!permanent) await apply(at, { type: "ended", isPassing, ...why });
      else
        await apply(at, {
          type: "refused",
          refusedBy: isSealedElsewhere ? null : await refusalsOf(given.deployment, at),
          ...why,
        });
    }
  };
}

function begunAnew(
  { waitsFor: _over, ...state }: Extract<Replica["state"], { phase: "STARTING" }>,
  since: number,
): Replica["state"] {
  return { ...state, since };
}
