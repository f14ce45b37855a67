import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createMockWorld } from "@toolyard/runtimes/mock/mock-runtime.ts";
import { statementsOf } from "@toolyard/testing";
import { expect, test, vi } from "vitest";
import { healthCheckEntity } from "../database.ts";
import type { DeploymentStore } from "../store/deployment-store.ts";
import {
  createControlPlane,
  createStore,
  insertDeployment,
  openStoreDatabase,
  type ControlPlane,
} from "./reconciler-fixture.ts";
import { saveSettled } from "./settle.ts";

const SWEEP_MS = 2_000;
const MINUTE_MS = 60_000;

/** A control plane with so many deployments that run, on a clock of its own. */
async function withDeployments(
  count: number,
  run: (fixture: {
    store: DeploymentStore;
    plane: ControlPlane;
    ids: string[];
    /** Sweeps until so much time has passed. */
    pass: (ms: number) => Promise<void>;
    database: Awaited<ReturnType<typeof openStoreDatabase>>;
  }) => Promise<void>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "toolyard-idle-"));
  const database = await openStoreDatabase(join(folder, "deployments.sqlite"));
  let now = Date.now();
  const store = createStore(database);
  const plane = createControlPlane({ store, world: createMockWorld(), now: () => now, ports: count + 10 });
  const pass = async (ms: number): Promise<void> => {
    for (const end = now + ms; now < end;) {
      now += SWEEP_MS;
      await plane.reconciler.sweep();
    }
  };
  try {
    const ids = [];
    for (let index = 0; index < count; index += 1)
      ids.push((await insertDeployment(store, `tool-${index}`, 1, 9_000 + index)).id);
    await pass(4 * SWEEP_MS);
    await run({ store, plane, ids, pass, database });
  } finally {
    await plane.close();
    await database.close();
    await rm(folder, { recursive: true, force: true });
  }
}

test("ten times the deployments that only answer are no more statements, but for removing old checks", async () => {
  const costs: Record<number, number> = {};
  for (const count of [5, 50])
    await withDeployments(count, async ({ pass, database }) => {
      const { length } = await statementsOf(() => pass(MINUTE_MS));
      costs[count] = length;
      const checks = await database.read.getRepository(healthCheckEntity).count();
      // Each was probed every 10 s all the same.
      expect(checks).toBeGreaterThanOrEqual(count * 6);
    });
  expect(costs[50]).toBeLessThanOrEqual((costs[5] ?? 0) + 50);
  expect(costs[50]).toBeLessThanOrEqual(50 * 20);
});

test("what each probe found is shown, the last hundred of each deployment", async () => {
  await withDeployments(2, async ({ store, ids, pass, database }) => {
    await pass(60 * MINUTE_MS);
    for (const id of ids) {
      const [checks = []] = await store.healthChecksOf([id], 100);
      expect(checks).toHaveLength(100);
      expect(new Set(checks.map(({ status, kind }) => `${status} ${kind}`))).toEqual(new Set(["HEALTHY mock"]));
      const record = await store.load(id);
      expect(record?.deployment.lastHealthCheckAt).toBe(checks[0]?.at);
      expect(record?.replicas[0]?.lastProbeAt).toBe(checks[0]?.at);
    }
    expect(await database.read.getRepository(healthCheckEntity).count()).toBeLessThanOrEqual(2 * 150);
  });
});

test("a probe that finds a replica otherwise is written at once, with what follows", async () => {
  await withDeployments(1, async ({ store, plane, ids: [id = ""], pass }) => {
    for (const { name } of plane.runtime.running()) plane.sick.add(name);
    await pass(12_000);
    expect((await store.load(id))?.replicas[0]?.state.phase).toBe("UNHEALTHY");
    expect((await store.healthChecksOf([id], 1))[0]?.[0]?.status).toBe("UNHEALTHY");
    plane.sick.clear();
    await pass(12_000);
    expect((await store.load(id))?.replicas[0]?.state.phase).toBe("READY");
  });
});

test("a check of a process whose replica has another by now is not kept", async () => {
  await withDeployments(1, async ({ store, ids: [deploymentId = ""], database }) => {
    const record = await store.load(deploymentId);
    const replica = record?.replicas[0];
    if (!replica) throw new Error("no replica");
    const before = await database.read.getRepository(healthCheckEntity).count();
    const check = { id: "late", deploymentId, replicaId: replica.id, at: Date.now() * 2, latencyMs: 1 };
    const told = { status: "HEALTHY", kind: "mock", detail: null, words: null } as const;
    await store.recordQuietProbes([
      { replicaId: replica.id, incarnation: replica.incarnation - 1, check: { ...check, ...told } },
    ]);
    expect(await database.read.getRepository(healthCheckEntity).count()).toBe(before);
    expect((await store.load(deploymentId))?.replicas).toEqual(record?.replicas);
  });
});

test("a sweep reads what was written since the last one, and nothing that ended", async () => {
  await withDeployments(6, async ({ store, plane, ids, pass }) => {
    const [stopped = "", changed = ""] = ids;
    await store.transaction(async (tx) => {
      const record = await tx.load(stopped);
      if (record) await saveSettled(tx, { ...record, deployment: { ...record.deployment, desired: "STOP" } }, 0);
    });
    await pass(3 * SWEEP_MS);
    expect((await store.load(stopped))?.deployment.status).toBe("STOPPED");
    expect(plane.reconciler.known().map(({ deployment }) => deployment.id)).toEqual(ids.slice(1));
    await store.transaction(async (tx) => {
      const record = await tx.load(changed);
      if (record) await saveSettled(tx, record, 0);
    });
    const statements = await statementsOf(() => pass(SWEEP_MS));
    const loads = statements.filter(({ sql }) => /FROM "deployments"/.test(sql) && /"launch"/.test(sql));
    expect(loads.map(({ parameters }) => parameters)).toEqual([[changed]]);
  });
});

test("a replica of another host, which nobody probes any more, is no reason to look at it again and again", async () => {
  await withDeployments(1, async ({ store, plane, ids: [id = ""], pass }) => {
    await store.transaction(async (tx) => {
      const record = await tx.load(id);
      if (!record) throw new Error("no deployment");
      for (const replica of record.replicas) await tx.saveReplica({ ...replica, hostId: "host-2", lastProbeAt: 0 });
      await saveSettled(tx, record, 0);
    });
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      await pass(SWEEP_MS);
      expect(plane.reconciler.known()[0]?.replicas[0]?.hostId).toBe("host-2");
      expect(vi.getTimerCount()).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });
});

test("deployments are counted by their status, again only when one may have changed", async () => {
  await withDeployments(3, async ({ store, ids: [stopped = ""], pass }) => {
    expect(Object.fromEntries(await store.countByStatus())).toMatchObject({ RUNNING: 3, STOPPED: 0 });
    expect(await statementsOf(() => store.countByStatus())).toHaveLength(1);
    await store.transaction(async (tx) => {
      const record = await tx.load(stopped);
      if (record) await saveSettled(tx, { ...record, deployment: { ...record.deployment, desired: "STOP" } }, 0);
    });
    expect(Object.fromEntries(await store.countByStatus())).toMatchObject({ RUNNING: 2, STOPPING: 1 });
    await pass(3 * SWEEP_MS);
    expect(Object.fromEntries(await store.countByStatus())).toMatchObject({ RUNNING: 2, STOPPED: 1 });
  });
});

test("what a sweep asks for is found by an index, however many deployments have ended or failed", async () => {
  await withDeployments(2, async ({ store, pass, database }) => {
    const statements = await statementsOf(async () => {
      await pass(12_000);
      await store.failedWithRemains({ before: Date.now(), after: "", limit: 10 });
      await store.hostIds();
      await store.countByStatus();
      await store.portsInUse("host-1");
    });
    const plans = new Map<string, string[]>();
    for (const { sql, parameters } of statements.filter((each) => /^(SELECT|UPDATE|DELETE|INSERT)/.test(each.sql))) {
      const steps = await database.read.query<{ detail: string }[]>(`EXPLAIN QUERY PLAN ${sql}`, [...parameters]);
      plans.set(
        sql,
        steps.map(({ detail }) => detail),
      );
    }
    expect(plans.size).toBeGreaterThan(5);
    // `k` is JSON that was handed in.
    const scans = [...plans].flatMap(([sql, steps]) =>
      steps.filter((step) => /^SCAN (?!k )/.test(step)).map((step) => `${step}: ${sql}`),
    );
    expect(scans).toEqual([]);
  });
});

test("a replacement that has failed in part is not asked again and again whether it may take over; it does once it is no worse", async () => {
  await withDeployments(1, async ({ store, plane, pass }) => {
    const older = await insertDeployment(store, "twice", 2, 9_001);
    await pass(4 * SWEEP_MS);
    const newer = await insertDeployment(store, "twice", 2, 9_003, undefined, { role: "PENDING" });
    await store.transaction(async (tx) => {
      const [, replica] = (await tx.load(newer.id))?.replicas ?? [];
      if (replica) await tx.saveReplica({ ...replica, state: { phase: "FAILED", reason: "It exited.", words: null } });
    });
    await pass(4 * SWEEP_MS);
    const rolesOf = async () =>
      Promise.all([older, newer].map(async ({ id }) => (await store.load(id))?.deployment.role));
    expect(await rolesOf()).toEqual(["ACTIVE", "PENDING"]);
    const statements = await statementsOf(() => pass(4 * SWEEP_MS));
    expect(statements.filter(({ sql }) => /FROM "deployments"/.test(sql) && /"launch"/.test(sql))).toEqual([]);

    const [worse] = (await store.load(older.id))?.replicas ?? [];
    for (const { name, replicaId } of plane.runtime.running()) if (replicaId === worse?.id) plane.sick.add(name);
    await pass(MINUTE_MS);
    expect(await rolesOf()).toEqual(["RETIRED", "ACTIVE"]);
  });
});
