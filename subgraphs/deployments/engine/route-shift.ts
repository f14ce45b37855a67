import type { DeploymentStore } from "../store/deployment-store.ts";
import { saveSettled } from "./settle.ts";

/**
 * Gives the deployment its tool's route in its environment, and retires those deployed before it: they drain and stop. One
 * deployed later is left to take over in its turn. Answers the ids of the retired ones; empty when there is no route to take.
 */
export async function shiftRoute(store: DeploymentStore, deploymentId: string, now: number): Promise<string[]> {
  return store.transaction(async (tx) => {
    const record = await tx.load(deploymentId);
    if (!record || record.deployment.desired === "STOP" || record.deployment.role !== "PENDING") return [];
    const { toolId, environment, name, id } = record.deployment;
    const siblings = await tx.siblings(toolId, environment);
    const older = siblings.filter((sibling) => sibling.id < id);
    const message = `${name} has the tool's route now.`;
    await saveSettled(tx, { ...record, deployment: { ...record.deployment, role: "ACTIVE" } }, now, [
      { kind: "ROUTE_SHIFTED", message },
    ]);
    for (const sibling of older) {
      const replaced = await tx.load(sibling.id);
      if (!replaced) continue;
      await saveSettled(
        tx,
        { ...replaced, deployment: { ...replaced.deployment, desired: "STOP", role: "RETIRED" } },
        now,
        [{ kind: "REPLACED", message: `${sibling.name} was replaced by ${name}.`, data: { replacedBy: name } }],
      );
    }
    return older.map((sibling) => sibling.id);
  });
}
