import { createMockWorld } from "@toolyard/runtimes/mock/mock-runtime.ts";
import { createSealer } from "@toolyard/service-kit";
import { expect, test, vi } from "vitest";
import { createControlPlane, createStore, insertDeployment, logger, openStoreDatabase } from "./reconciler-fixture.ts";

/** Ten deployments of which one row is another than this version writes; then sweeps until all that can happen has. */
async function withDamage(sql: string) {
  const database = await openStoreDatabase();
  const store = createStore(database);
  const world = createMockWorld();
  let now = Date.now();
  const plane = createControlPlane({ store, world, now: () => now, ports: 20 });
  const ids: string[] = [];
  for (let index = 0; index < 10; index += 1)
    ids.push((await insertDeployment(store, `tool-${index}`, 1, 9_000 + index)).id);
  const bad = ids[4] ?? "";
  const sweep = async (times: number): Promise<void> => {
    for (let time = 0; time < times; time += 1) {
      now += 2_000;
      await plane.reconciler.sweep();
    }
  };
  const damage = () => database.transaction(({ manager }) => manager.query(sql, [bad]));
  const statuses = async () => {
    const rows = await store.transaction(async (tx) => {
      const found: (string | undefined)[] = [];
      for (const id of ids) if (id !== bad) found.push((await tx.load(id))?.deployment.status);
      return found;
    });
    return [...new Set(rows)];
  };
  return {
    store,
    plane,
    bad,
    sweep,
    damage,
    statuses,
    async [Symbol.asyncDispose]() {
      await plane.close();
      await database.close();
    },
  };
}

const DAMAGES = [
  ["a launch of a later version", `UPDATE deployments SET launch = '{"kind":"wasm"}' WHERE id = ?`],
  ["a launch that is no JSON", `UPDATE deployments SET launch = '{"kind"' WHERE id = ?`],
  ["an unknown runtime", `UPDATE deployments SET runtime = 'WASM' WHERE id = ?`],
] as const;

test.each(DAMAGES)("%s fails its deployment, and all others come up", async (_what, sql) => {
  await using fixture = await withDamage(sql);
  await fixture.damage();
  await fixture.sweep(6);
  expect(await fixture.statuses()).toEqual(["RUNNING"]);
  const record = await fixture.store.load(fixture.bad);
  expect(record?.deployment.status).toBe("FAILED");
  expect(record?.deployment.reason).toMatch(/cannot be read|not available here/);
  expect((await fixture.store.countByStatus()).get("RUNNING")).toBe(9);
  const page = fixture.store.page({}, { limit: 50, afterId: null, offset: 0 });
  expect(await page.rows()).toHaveLength(10);
});

test("a replica's state that is no JSON leaves its deployment alone, and what runs of it", async () => {
  await using fixture = await withDamage(`UPDATE replicas SET state = '{"phase"' WHERE "deploymentId" = ?`);
  await fixture.sweep(3);
  const running = fixture.plane.runtime.running().length;
  expect(running).toBe(10);
  await fixture.damage();
  await fixture.store.transaction(async (tx) => {
    const record = await fixture.store.find(fixture.bad);
    if (record) await tx.saveDeployment(record);
  });
  for (const { name } of fixture.plane.runtime.running())
    if (!name.startsWith("tool-4")) fixture.plane.runtime.crash(name);
  await fixture.sweep(6);
  expect(await fixture.statuses()).toEqual(["RUNNING"]);
  expect(fixture.plane.runtime.running().length).toBe(10);
});

test("a replica whose secrets another SECRET_KEY sealed fails at once, and one line at level error says what to do", async () => {
  const error = vi.spyOn(logger, "error");
  const sealed = createSealer({ secretKey: "another-secret-key-of-at-least-32-chars" }).seal("{}", "id");
  await using fixture = await withDamage(`UPDATE deployments SET "sealedConfiguration" = '${sealed}' WHERE id = ?`);
  await fixture.damage();
  await fixture.sweep(6);
  expect(await fixture.statuses()).toEqual(["RUNNING"]);
  expect((await fixture.store.load(fixture.bad))?.deployment.status).toBe("FAILED");
  expect(error.mock.calls).toEqual([
    [
      expect.objectContaining({ deployment_id: fixture.bad }),
      expect.stringMatching(/Set SECRET_KEY_PREVIOUS .* restart this deployment/),
    ],
  ]);
});
