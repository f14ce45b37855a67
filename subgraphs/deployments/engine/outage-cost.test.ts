import { createMockWorld } from "@toolyard/runtimes/mock/mock-runtime.ts";
import { statementsOf } from "@toolyard/testing/statements.ts";
import { expect, test } from "vitest";
import { createControlPlane, createStore, insertDeployment, openStoreDatabase } from "./reconciler-fixture.ts";

/** Statements for each of so many deployments, which `strike` hits all at once, until all run again. */
async function costOfEach(count: number, strike: "their processes end" | "they do not answer"): Promise<number> {
  const database = await openStoreDatabase();
  const store = createStore(database);
  let now = Date.now();
  const plane = createControlPlane({ store, world: createMockWorld(), now: () => now, ports: 2 * count });
  const ids: string[] = [];
  for (let index = 0; index < count; index += 1)
    ids.push((await insertDeployment(store, `tool-${index}`, 1, 9_000 + index)).id);
  const sweep = async (): Promise<void> => {
    now += 2_000;
    await plane.reconciler.sweep();
  };
  const areWell = async (): Promise<boolean> => {
    const records = await store.loadMany(ids);
    return records.every(({ deployment }) => deployment.status === "RUNNING" && deployment.health === "HEALTHY");
  };
  const until = async (isSo: () => Promise<boolean>): Promise<void> => {
    for (let sweeps = 0; !(await isSo()); sweeps += 1) {
      if (sweeps > 100) throw new Error("it does not come to that");
      await sweep();
    }
  };
  try {
    await until(areWell);
    const statements = await statementsOf(async () => {
      for (const { name } of plane.runtime.running())
        if (strike === "their processes end") plane.runtime.crash(name);
        else plane.sick.add(name);
      await until(async () => !(await areWell()));
      plane.sick.clear();
      await until(areWell);
    });
    return statements.length / count;
  } finally {
    await plane.close();
    await database.close();
  }
}

test.each(["their processes end", "they do not answer"] as const)(
  "three times the deployments of which, all at once, %s cost no more each",
  async (strike) => {
    const [few, many] = [await costOfEach(20, strike), await costOfEach(60, strike)];
    expect(few).toBeGreaterThan(5);
    expect(many).toBeLessThanOrEqual(few * 1.1);
  },
);
