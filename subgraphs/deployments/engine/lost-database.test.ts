import { createMockWorld } from "@toolyard/runtimes/mock/mock-runtime.ts";
import { expect, test, vi } from "vitest";
import { createControlPlane, createStore, insertDeployment, logger, openStoreDatabase } from "./reconciler-fixture.ts";

test("a database that is away is one warning for all deployments and sweeps, and one line when it is back", async () => {
  const [error, warn, info] = (["error", "warn", "info"] as const).map((level) => vi.spyOn(logger, level));
  const database = await openStoreDatabase();
  const store = createStore(database);
  let isAway = false;
  const refuse = async (): Promise<void> => {
    if (isAway) throw Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" });
  };
  const lost: typeof store = {
    ...store,
    load: async (id) => refuse().then(() => store.load(id)),
    unsettled: async () => refuse().then(() => store.unsettled()),
  };
  let now = Date.now();
  const plane = createControlPlane({ store: lost, world: createMockWorld(), now: () => now, ports: 20 });
  const sweep = async (): Promise<void> => {
    now += 2_000;
    await plane.reconciler.sweep();
  };
  try {
    const ids: string[] = [];
    for (let index = 0; index < 5; index += 1)
      ids.push((await insertDeployment(store, `tool-${index}`, 1, 9_000 + index)).id);
    for (let sweeps = 0; sweeps < 4; sweeps += 1) await sweep();
    [error, warn, info].forEach((spy) => spy?.mockClear());
    isAway = true;
    // Looks come first: a process ends, or a user asks for something.
    ids.forEach((id) => plane.reconciler.wake(id));
    await expect.poll(() => warn?.mock.calls.length).toBe(1);
    for (let sweeps = 0; sweeps < 3; sweeps += 1) await sweep();
    expect(warn?.mock.calls).toEqual([
      [{ reason: "connect ECONNREFUSED" }, "looking after the replicas failed; it is tried again until it works"],
    ]);
    isAway = false;
    for (let sweeps = 0; sweeps < 3; sweeps += 1) await sweep();
    expect(info?.mock.calls).toEqual([[{}, "looking after the replicas works again"]]);
    expect([error?.mock.calls, warn?.mock.calls.length]).toEqual([[], 1]);
  } finally {
    await plane.close();
    await database.close();
  }
});
