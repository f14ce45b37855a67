import { setTimeout as delay } from "node:timers/promises";
import type { ReplicaHandle, Runtime } from "@toolyard/runtimes/runtime.ts";
import { calleeOf } from "../deploying/callee.ts";
import { processNameOf, type AfterStop, type Deployment, type Replica } from "../deployment.ts";
import { TOLD_WITHIN_MS } from "../busy-replicas.ts";
import type { DeploymentRecord } from "../store/deployment-store.ts";
import { describeEnd, withAdvice } from "./process-end.ts";
import type { ReplicaChecks } from "./replica-checks.ts";
import { currentOf, type ReplicaContext } from "./replica-context.ts";

/** The bridge's exit code for a launch that cannot be run (EX_CONFIG of sysexits.h). */
const EXIT_CONFIG = 78;

/** The pause between two looks at whether calls of a replica that is to be stopped are under way. */
const LOOK_MS = 50;

/** The ends of replicas: those that came by themselves, and those that were asked for. */
export interface ReplicaEnd {
  /** Records that its process ended by itself. */
  reap(record: DeploymentRecord, replica: Replica): Promise<void>;
  stop(record: DeploymentRecord, replica: Replica, then: AfterStop, reason: string): Promise<void>;
  /** Stops it for good, unless there are sessions in it, or it does not say: then it answers false. */
  release(record: DeploymentRecord, replica: Replica): Promise<boolean>;
}

export function createReplicaEnd(context: ReplicaContext, { toCheck }: Pick<ReplicaChecks, "toCheck">): ReplicaEnd {
  const { prober, sealer, ports, reap, isBusy, now, drainMs, callsMs, graceMs } = context;
  const { runtimeOf, apply, lastLinesOf, lastOutputOf } = context;

  async function hasSessions({ deployment }: DeploymentRecord, replica: Replica): Promise<boolean> {
    const isSimulated = runtimeOf(deployment).answers !== undefined;
    if (deployment.launch.kind !== "stdio" || isSimulated) return false;
    try {
      return (await prober.countSessions(calleeOf(deployment, replica, sealer))) > 0;
    } catch {
      return true; // whether it answers at all is for probes to say
    }
  }

  async function drain({ launch }: Deployment, { id }: Replica, answers: boolean): Promise<void> {
    await delay(drainMs);
    // A bridge ends its calls itself, and nobody stops what is remote.
    if (!answers || (launch.kind !== "http" && launch.kind !== "image")) return;
    // Proxies tell of its calls once they have learnt of the change.
    await delay(2 * drainMs);
    const until = performance.now() + callsMs;
    while (isBusy(id, TOLD_WITHIN_MS) && performance.now() < until) await delay(LOOK_MS);
  }

  const work: ReplicaEnd = {
    async reap({ deployment }, replica) {
      const runtime = runtimeOf(deployment);
      if (!replica.handle) return;
      const liveness = await runtime.inspect(replica.handle);
      if (liveness.alive) return;
      const lines = await lastLinesOf(deployment, replica);
      const texts = lines.map(({ text }) => text);
      const reason = withAdvice(describeEnd(replica, liveness, now()), deployment, texts);
      const why = { reason, words: await lastOutputOf(deployment, replica, lines) };
      // Its children may have outlived it.
      await runtime.stop(replica.handle, 0);
      const hopeless = deployment.launch.kind === "stdio" && liveness.exitCode === EXIT_CONFIG;
      const check = toCheck(replica, { kind: "process", latencyMs: 0 }, "UNHEALTHY", why);
      await apply(replica, { type: hopeless ? "refused" : "ended", ...why }, { check });
    },

    async stop({ deployment }, replica, then, reason) {
      const runtime = runtimeOf(deployment);
      const { phase } = replica.state;
      // A replica written as gone has left nothing: its folders are removed before its row.
      const forget = async (): Promise<void> => {
        for (const handle of [replica.handle, replica.previousHandle])
          if (handle) await reap(deployment, replica, handle);
      };
      if (phase === "PENDING" || phase === "BACKOFF" || phase === "FAILED") {
        if (then === "REMOVE") await forget();
        await apply(replica, { type: "stop", then, reason });
      } else {
        const told = await apply(replica, { type: "stop", then, reason });
        const stopping = told ? currentOf(told, replica) : replica;
        // Its process had ended since it was read, so that there was nothing to wait for.
        if (!stopping) return forget();
        if (stopping.state.phase !== "STOPPING") return; // It has changed meanwhile: decide anew.
        if (phase === "READY" || phase === "UNHEALTHY") await drain(deployment, replica, phase === "READY");
        const handle = replica.handle ?? (await findByName(runtime, processNameOf(deployment, replica)));
        if (handle) await runtime.stop(handle, graceMs);
        if (stopping.state.then === "REMOVE") await forget();
        const isOver = await apply(replica, { type: "gone", then: stopping.state.then });
        if (!isOver && stopping.state.then !== "REMOVE") {
          // Meanwhile a final stop was asked for.
          await forget();
          await apply(replica, { type: "gone" });
        }
      }
      if (then === "REMOVE" && replica.port !== null) ports.released(replica.port);
    },

    async release(record, replica) {
      if (await hasSessions(record, replica)) return false;
      await work.stop(record, replica, "REMOVE", "Its deployment has less load.");
      return true;
    },
  };
  return work;
}

async function findByName(runtime: Runtime, name: string): Promise<ReplicaHandle | null> {
  const running = await runtime.list();
  return running.find(({ handle }) => handle.name === name)?.handle ?? null;
}
