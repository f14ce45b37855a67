import { nextTimeSlice } from "@toolyard/service-kit";
import type { DeploymentRecord, DeploymentStore } from "../store/deployment-store.ts";
import { saveSettled } from "./settle.ts";

export const readyOf = (record: DeploymentRecord | null): number =>
  record?.replicas.filter(({ state }) => state.phase === "READY").length ?? 0;

/**
 * Gives the deployment its tool's route in its environment, and retires those deployed before it: they drain and stop. One
 * deployed later is left to take over in its turn. Answers the ids of the retired ones; empty when there is no route to take, or when
 * not all of its replicas are ready and one before it has more that are.
 */
export async function shiftRoute(store: DeploymentStore, deploymentId: string, now: number): Promise<string[]> {
  return store.transaction(async (tx) => {
    const record = await tx.load(deploymentId);
    if (!record || record.deployment.desired === "STOP" || record.deployment.role !== "PENDING") return [];
    const { name } = record.deployment;
    const older = await tx.runningBefore(record.deployment);
    if (readyOf(record) < record.deployment.desiredReplicas)
      for (const id of older) if (readyOf(await tx.load(id)) > readyOf(record)) return [];
    const message = `${name} has the tool's route now.`;
    await saveSettled(tx, { ...record, deployment: { ...record.deployment, role: "ACTIVE" } }, now, [
      { kind: "ROUTE_SHIFTED", message },
    ]);
    for (const id of older) {
      await nextTimeSlice();
      const replaced = await tx.load(id);
      if (!replaced) continue;
      await saveSettled(
        tx,
        { ...replaced, deployment: { ...replaced.deployment, desired: "STOP", role: "RETIRED" } },
        now,
        [
          {
            kind: "REPLACED",
            message: `${replaced.deployment.name} was replaced by ${name}.`,
            data: { replacedBy: name },
          },
        ],
      );
    }
    return older;
  });
}
