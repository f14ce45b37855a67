import {
  createMockRuntime,
  createMockWorld,
  type MockRuntime,
  type MockWorld,
} from "@toolyard/runtimes/mock/mock-runtime.ts";
import { createSqlJobLeases } from "@toolyard/scheduler";
import { ToolyardError } from "@toolyard/service-kit";
import type { Database } from "@toolyard/storage";
import { onEachDatabase } from "@toolyard/testing/sql-stores.ts";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { deploymentEvents, entities, migrationsFolder } from "../database.ts";
import type { Deployment, Replica } from "../deployment.ts";
import {
  createControlPlane,
  createStore,
  insertDeployment,
  logger,
  offerWith,
  type ControlPlane,
} from "../engine/reconciler-fixture.ts";
import { saveSettled } from "../engine/settle.ts";
import type { DeploymentStore } from "../store/deployment-store.ts";
import { joinHosts, LeaseLostError, ownerOf, type HostAgent } from "./host-agent.ts";
import { createSqlHostStore } from "./host-store.sql.ts";

const LEASE_MS = 30_000;
const STEP_MS = 2_000;

interface Machine {
  id: string;
  world: MockWorld;
  store: DeploymentStore;
  agent: HostAgent;
  plane: ControlPlane;
}

onEachDatabase((name, open) =>
  describe(`several hosts on ${name}`, () => {
    let now: number;
    let databases: readonly Database[];
    let closeDatabases: () => Promise<void>;
    let machines: Machine[];
    /** The hosts on which a start was refused. */
    let starts: string[];
    beforeEach(async () => {
      starts = [];
      now = 1_800_000_000_000;
      machines = [];
      ({ databases, close: closeDatabases } = await open({ entities, migrationsFolder }, () => null));
    });
    afterEach(async () => {
      for (const { plane } of machines) await plane.close();
      await closeDatabases();
    });

    /** A host with a process. @param options.world What runs there already. @param options.refuses Whether the command of all launches is not there. */
    async function begin(
      id: string,
      { world = createMockWorld(), owner = id, ports = 21, refuses = false } = {},
    ): Promise<Machine> {
      const database = databases[machines.length % 2];
      if (!database) throw new Error("There is no database.");
      const store = createStore(database);
      const agent = await joinHosts({
        hosts: createSqlHostStore(database, { now: () => now }),
        leases: createSqlJobLeases(database),
        hostId: id,
        owner,
        offer: offerWith(ports, createMockRuntime({ world, tickIntervalMs: null })),
        leaseMs: LEASE_MS,
        now: () => now,
        logger,
      });
      const around = (runtime: MockRuntime): MockRuntime => ({
        ...runtime,
        async start(...given) {
          if (!refuses) return runtime.start(...given);
          starts.push(id);
          throw new ToolyardError("BAD_USER_INPUT", `The command is not on host ${id}.`);
        },
      });
      const plane = createControlPlane({ store, world, now: () => now, ports, agent, around });
      const machine = { id, world, store, agent, plane };
      machines.push(machine);
      return machine;
    }
    /** These sweep until so much time has passed; the others are away. */
    async function pass(ms: number, ...awake: Machine[]): Promise<void> {
      for (const end = now + ms; now < end;) {
        now += STEP_MS;
        for (const { plane } of awake) await plane.reconciler.sweep();
      }
    }
    async function replicasOf({ store }: Machine, id: string): Promise<Replica[]> {
      return (await store.load(id))?.replicas ?? [];
    }
    const running = ({ plane }: Machine) => plane.runtime.running().map((spec) => spec.name);
    const messages = async () =>
      (
        await (databases[0] as Database).read
          .getRepository(deploymentEvents.events)
          .find({ order: { sequence: "ASC" } })
      ).map(({ kind, payload }) => `${kind} ${(payload as { message: string }).message}`);
    const scale = (machine: Machine, id: string, desiredReplicas: number) => ask(machine, id, { desiredReplicas });
    const stop = (machine: Machine, id: string) => ask(machine, id, { desired: "STOP" });
    async function ask({ store }: Machine, id: string, wanted: Partial<Deployment>): Promise<void> {
      await store.transaction(async (tx) => {
        const record = await tx.load(id);
        if (record) await saveSettled(tx, { ...record, deployment: { ...record.deployment, ...wanted } }, now);
      });
    }

    test("the leader spreads replicas, and each host's agent starts its own", async () => {
      const [one, two] = [await begin("one"), await begin("two")];
      expect([one.agent.isLeader(), two.agent.isLeader()]).toEqual([true, false]);
      const { id } = await insertDeployment(one.store, "spread", 1, 9_000, "one");
      await scale(two, id, 4);
      await pass(8_000, two);
      expect(await replicasOf(one, id)).toHaveLength(1);
      await pass(8_000, one, two);
      const replicas = await replicasOf(one, id);
      expect(replicas.map(({ hostId, state }) => [hostId, state.phase])).toEqual([
        ["one", "READY"],
        ["two", "READY"],
        ["one", "READY"],
        ["two", "READY"],
      ]);
      expect([running(one).length, running(two).length]).toEqual([2, 2]);
      expect(await two.store.load(id)).toMatchObject({ deployment: { status: "RUNNING", health: "HEALTHY" } });
    });

    test("replicas of a host that is not heard from are moved, which is said; when it is back it stops what is no longer its", async () => {
      const [one, two] = [await begin("one"), await begin("two")];
      const { id } = await insertDeployment(one.store, "moved", 2, 9_000, "two");
      await pass(10_000, one, two);
      expect(running(two)).toHaveLength(2);
      const heardAt = new Date(now).toISOString();
      await pass(LEASE_MS - 2 * STEP_MS, one);
      expect((await replicasOf(one, id)).map(({ hostId }) => hostId)).toEqual(["two", "two"]);
      await pass(LEASE_MS, one);
      const moved = await replicasOf(one, id);
      expect(moved.map(({ hostId, state }) => [hostId, state.phase])).toEqual([
        ["one", "READY"],
        ["one", "READY"],
      ]);
      const why = /^MOVED Replica \d goes to host one\. Host two was not heard from since (.+)\.$/;
      const said = (await messages()).flatMap((message) => why.exec(message)?.[1] ?? []);
      expect(said).toHaveLength(2);
      for (const since of said) expect(Math.abs(Date.parse(since) - Date.parse(heardAt))).toBeLessThan(LEASE_MS / 2);

      expect(running(two)).toHaveLength(2);
      await pass(2 * STEP_MS, one, two);
      expect(running(two)).toEqual([]);
      expect(await replicasOf(one, id)).toMatchObject(moved.map(({ handle, state }) => ({ handle, state })));
      expect(running(one)).toHaveLength(2);
    });

    test("an agent whose host was given up writes nothing of what was moved, nor does a leader that was away", async () => {
      const [one, two] = [await begin("one"), await begin("two")];
      const mine = await insertDeployment(one.store, "mine", 1, 9_000, "one");
      await pass(10_000, one, two);
      // It goes on while the other is stopped.
      await pass(2 * LEASE_MS, two);
      expect([one.agent.isLeader(), two.agent.isLeader()]).toEqual([true, true]);
      expect(await replicasOf(two, mine.id)).toMatchObject([{ hostId: "two", state: { phase: "READY" } }]);
      const before = [await two.store.load(mine.id), await messages()];

      await expect(one.store.transaction(async () => undefined, one.agent.enter)).rejects.toThrow(LeaseLostError);
      await expect(one.store.transaction(async () => undefined, one.agent.lead)).rejects.toThrow(LeaseLostError);
      for (const { name: process } of one.plane.runtime.running()) one.plane.runtime.crash(process);
      one.plane.reconciler.wake(mine.id);
      expect(await one.plane.reconciler.check(mine.id, AbortSignal.timeout(10_000))).toEqual([]);
      expect([await two.store.load(mine.id), await messages()]).toEqual(before);

      await pass(2 * STEP_MS, one, two);
      expect([one.agent.isLeader(), two.agent.isLeader()]).toEqual([false, true]);
      expect(running(one)).toEqual([]);
    });

    test("a deployment whose only host is gone says why it does not run, and runs where a host comes", async () => {
      const [one, two] = [await begin("one", { ports: 0 }), await begin("two")];
      const { id } = await insertDeployment(one.store, "alone", 1, 9_000, "two");
      await pass(10_000, one, two);
      await pass(2 * LEASE_MS, one);
      const { deployment, replicas } = (await one.store.load(id)) ?? {};
      expect(replicas).toMatchObject([{ hostId: "two", port: null, state: { phase: "PENDING" } }]);
      expect(deployment).toMatchObject({ status: "RUNNING", health: "UNHEALTHY" });
      expect(deployment?.reason).toMatch(/^Host two was not heard from since /);
      const said = await messages();
      expect(said).toContainEqual(
        expect.stringMatching(/^REPLICA_PENDING Replica 0 waits for a host that can run it\. Host two was/),
      );
      await pass(LEASE_MS, one);
      expect(await messages()).toEqual(said);

      const three = await begin("three");
      await pass(LEASE_MS, one, three);
      expect(await replicasOf(one, id)).toMatchObject([{ hostId: "three", state: { phase: "READY" } }]);
      expect(running(three)).toHaveLength(1);
      await pass(2 * STEP_MS, one, two, three);
      expect([running(two), running(three).length]).toEqual([[], 1]);
    });

    test("what another host refuses that took it over begins by itself where it ran, when that host is back", async () => {
      const [one, two] = [await begin("one", { refuses: true }), await begin("two")];
      const { id } = await insertDeployment(one.store, "refused", 2, 9_000, "two");
      await pass(10_000, one, two);
      await pass(2 * LEASE_MS, one);
      const { deployment, replicas } = (await one.store.load(id)) ?? {};
      expect(replicas).toMatchObject([{ hostId: "one", state: { phase: "FAILED" } }, { state: { phase: "FAILED" } }]);
      expect(deployment).toMatchObject({
        status: "FAILED",
        reason: expect.stringMatching(
          /^The command is not on host one\. It is tried on another host, when one is there\.$/,
        ),
      });
      const said = await messages();
      await pass(LEASE_MS, one);
      expect(await messages()).toEqual(said);
      await pass(10_000, one, two);
      expect((await replicasOf(one, id)).map(({ hostId, state }) => [hostId, state.phase])).toEqual([
        ["two", "READY"],
        ["two", "READY"],
      ]);
      expect(starts).toEqual(["one", "one"]);
      expect(await messages()).toContainEqual(
        expect.stringMatching(/^MOVED Replica 0 goes to host two\. The command is not on host one\./),
      );
    });

    test("what each host refuses is tried once on each, and stays failed until it is asked for", async () => {
      const [one, two] = [await begin("one", { refuses: true }), await begin("two", { refuses: true })];
      const { id } = await insertDeployment(one.store, "nowhere", 1, 9_000, "one");
      await pass(LEASE_MS, one, two);
      expect(starts).toEqual(["one", "two"]);
      const { deployment } = (await one.store.load(id)) ?? {};
      expect(deployment).toMatchObject({ status: "FAILED", reason: "The command is not on host two." });
      expect(deployment?.settledAt).not.toBeNull();
      await ask(one, id, { generation: (deployment?.generation ?? 0) + 1 });
      await pass(LEASE_MS, one, two);
      expect(starts).toEqual(["one", "two", "two", "one"]);
    });

    test("what failed on a host that is gone is stopped without it", async () => {
      const [one, two] = [await begin("one"), await begin("two", { refuses: true })];
      const { id } = await insertDeployment(one.store, "failed", 1, 9_000, "two");
      await pass(6_000, two);
      expect(await replicasOf(one, id)).toMatchObject([{ hostId: "two", state: { phase: "FAILED" } }]);
      await stop(two, id);
      await pass(2 * LEASE_MS, one);
      expect(await one.store.load(id)).toMatchObject({ deployment: { status: "STOPPED" }, replicas: [] });
    });

    test("what was to stop on a host that is gone is stopped without it", async () => {
      const [one, two] = [await begin("one"), await begin("two")];
      const { id } = await insertDeployment(one.store, "stopped", 2, 9_000, "two");
      await pass(10_000, one, two);
      await stop(one, id);
      await pass(2 * LEASE_MS, one);
      expect(await one.store.load(id)).toMatchObject({ deployment: { status: "STOPPED" }, replicas: [] });
      await pass(2 * STEP_MS, one, two);
      expect(running(two)).toEqual([]);
    });

    test("a host that ended in order keeps its replicas until its lease ends, and has them still when it is back sooner", async () => {
      const [one, two] = [await begin("one"), await begin("two")];
      const { id } = await insertDeployment(one.store, "kept", 1, 9_000, "two");
      await pass(10_000, one, two);
      const before = await replicasOf(one, id);
      await two.plane.close();
      await two.agent.close({ giveUp: false });
      await pass(LEASE_MS / 2, one);
      const again = await begin("two", { world: two.world, owner: "another container" });
      await pass(2 * LEASE_MS, one, again);
      expect(await replicasOf(one, id)).toMatchObject(before.map(({ handle, state }) => ({ handle, state })));
      expect(running(again)).toHaveLength(1);
    });

    test("hosts that could not be heard, since the database was away, keep their replicas", async () => {
      const [one, two] = [await begin("one"), await begin("two")];
      const { id } = await insertDeployment(one.store, "outage", 1, 9_000, "two");
      await pass(10_000, one, two);
      now += 10 * LEASE_MS;
      await pass(10_000, one);
      await pass(3 * LEASE_MS, one, two);
      expect(await replicasOf(one, id)).toMatchObject([{ hostId: "two", incarnation: 1, state: { phase: "READY" } }]);
    });

    test("a second process of a host that is there refuses to start, also on a copy of its disk, and says what to do", async () => {
      const one = await begin("one", { owner: ownerOf(import.meta.dirname) });
      const waiting = begin("one", { owner: ownerOf(import.meta.dirname, "another machine's boot") });
      const refused = expect(waiting).rejects.toThrow(/Stop that one, or give this one a HOST_ID.* removing .*host-id/);
      // It looks again now and then; the first renews its lease meanwhile.
      const sweeps = (async () => {
        for (let done = false; !done;) {
          await pass(LEASE_MS / 4, one);
          done = await Promise.race([
            waiting.then(
              () => true,
              () => true,
            ),
            new Promise<false>((resolve) => setImmediate(resolve, false)),
          ]);
        }
      })();
      await Promise.all([refused, sweeps]);
    });

    // Each is a minute of a database's work.
    const runs = name === "SQLite" ? 15 : 3;
    test("whoever is away when, and whoever leads: in the end each replica runs once, where its row says", async () => {
      const step = fc.record({
        who: fc.subarray([0, 1, 2]),
        ms: fc.integer({ min: STEP_MS, max: 2 * LEASE_MS }),
        scale: fc.option(fc.integer({ min: 0, max: 4 }), { freq: 3 }),
      });
      let count = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 6 }), async (steps) => {
          const round = `${(count += 1)}`;
          const hosts = [await begin(`a${round}`), await begin(`b${round}`), await begin(`c${round}`)];
          const { id } = await insertDeployment((hosts[0] as Machine).store, `tool-${round}`, 3, 9_000, `b${round}`);
          for (const { who, ms, scale: replicas } of steps) {
            if (replicas !== null) await scale(hosts[0] as Machine, id, replicas);
            await pass(ms, ...hosts.filter((_, index) => who.includes(index)));
          }
          await pass(4 * LEASE_MS, ...hosts);
          const record = await (hosts[0] as Machine).store.load(id);
          expect(record?.deployment.status).toBe("RUNNING");
          expect(record?.replicas).toHaveLength(record?.deployment.desiredReplicas ?? -1);
          for (const host of hosts) {
            const own = record?.replicas.filter(({ hostId }) => hostId === host.id) ?? [];
            expect(own.every(({ state }) => state.phase === "READY")).toBe(true);
            expect(running(host).toSorted()).toEqual(own.map(({ handle }) => handle?.name ?? "").toSorted());
          }
          await stop(hosts[0] as Machine, id);
          await pass(2 * STEP_MS, ...hosts);
          expect(hosts.flatMap(running)).toEqual([]);
          for (const { plane, agent } of hosts) {
            await plane.close();
            await agent.close({ giveUp: true });
          }
        }),
        { numRuns: runs },
      );
    });
  }),
);
