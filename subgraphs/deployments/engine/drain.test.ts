import { launchSchema } from "@toolyard/launch";
import { createMockWorld } from "@toolyard/runtimes/mock/mock-runtime.ts";
import { expect, test } from "vitest";
import { createControlPlane, createStore, insertDeployment, openStoreDatabase } from "./reconciler-fixture.ts";
import { saveSettled } from "./settle.ts";

const HTTP = { kind: "http", command: "server" };

/** Stops a healthy replica of a launch, that proxies report to have calls for as long as that is true. @returns how often was asked, and of what runs at each time */
async function stopped(launch: object, isBusy: (asked: number) => boolean, callsMs?: number) {
  const database = await openStoreDatabase();
  const store = createStore(database);
  const runs: boolean[] = [];
  const plane = createControlPlane({
    store,
    world: createMockWorld(),
    now: () => 0,
    overrides: {
      isBusy() {
        runs.push(plane.runtime.running().length > 0);
        return isBusy(runs.length);
      },
      ...(callsMs !== undefined && { callsMs }),
    },
  });
  try {
    const { id } = await insertDeployment(store, "server", 1, 9_000, undefined, { launch: launchSchema.parse(launch) });
    await expect
      .poll(async () => {
        await plane.reconciler.sweep();
        return (await store.load(id))?.replicas[0]?.state.phase;
      })
      .toBe("READY");
    runs.length = 0;
    await store.transaction(async (tx) => {
      const record = (await tx.load(id)) ?? expect.fail();
      await saveSettled(tx, { ...record, deployment: { ...record.deployment, desired: "STOP" } }, 0);
    });
    await plane.reconciler.sweep();
    await expect.poll(() => plane.runtime.running()).toEqual([]);
    return runs;
  } finally {
    await plane.close();
    await database.close();
  }
}

test("a server on HTTP runs until proxies report no more calls of it", async () => {
  expect(await stopped(HTTP, (asked) => asked < 3)).toEqual([true, true, true]);
});

test("calls that do not end keep it no longer than they may", async () => {
  expect((await stopped(HTTP, () => true, 20)).every(Boolean)).toBe(true);
});

test("a bridge is stopped at once: it lets its calls end itself", async () => {
  expect(await stopped({ ...HTTP, kind: "stdio" }, () => true)).toEqual([]);
});
