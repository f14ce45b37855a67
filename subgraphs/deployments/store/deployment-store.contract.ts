import type { EventLog } from "@toolyard/events";
import { DEFAULT_OPTIONS, launchSchema } from "@toolyard/launch";
import type { ReplicaHandle } from "@toolyard/runtimes/runtime.ts";
import { firstIdAt, newId, type Page } from "@toolyard/service-kit";
import { everyPage, ODD_JSON, ODD_TEXTS, testMethods } from "@toolyard/testing/port-contract.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { newReplica } from "../deploying/new-replica.ts";
import { interfaceOf } from "../interfaces/interface-fixture.ts";
import { deploymentOf } from "../deployment-fixture.ts";
import {
  DEPLOYMENT_STATUSES,
  type Deployment,
  type DeploymentEventPayload,
  type HealthCheck,
  type HealthEventPayload,
  type Replica,
  type ReplicaState,
} from "../deployment.ts";
import {
  PortTakenError,
  type DeploymentEventDraft,
  type DeploymentFilter,
  type DeploymentStore,
  type DeploymentTransaction,
} from "./deployment-store.ts";

export interface OpenDeploymentStore {
  /** The same store, as two processes have it open. */
  stores: readonly [DeploymentStore, DeploymentStore];
  /** Of deployments, and of their health checks. */
  events: Pick<EventLog<DeploymentEventPayload>, "readAfter">;
  health: Pick<EventLog<HealthEventPayload>, "readAfter">;
  close(): Promise<void>;
}

const NOW = 1_700_000_000_123;
const FIRST_PAGE: Page = { limit: 100, afterId: null, offset: 0 };
const LONG = "\u6f22\u{1f600}".repeat(20_000);

class Undone extends Error {}

const replicaOf = (deployment: Deployment, more: Partial<Replica> = {}): Replica => ({
  ...newReplica({ deployment, ordinal: 0, place: { hostId: "host-1", address: "127.0.0.1", port: null } }),
  ...more,
});

const checkOf = (deployment: Deployment, more: Partial<HealthCheck> = {}): HealthCheck => ({
  id: newId(),
  deploymentId: deployment.id,
  replicaId: null,
  at: NOW,
  status: "HEALTHY",
  kind: "mcp tools/list",
  latencyMs: 1.25,
  detail: null,
  words: null,
  ...more,
});

const handleOf = (name: string): ReplicaHandle => ({
  runtime: "PROCESS",
  name,
  identity: { pid: 4_194_304, startedAt: 9_007_199_254_740_991, container: "\u{1f600}" },
  endpoint: { url: "unix:/run/some.sock", owner: null },
});

const idsOf = (rows: readonly { id: string }[]) => rows.map(({ id }) => id);
const newestFirst = (rows: readonly Deployment[]) => rows.toSorted((one, other) => (one.id < other.id ? 1 : -1));

/** What every adapter of DeploymentStore must show. */
export function deploymentStoreContract(name: string, open: () => Promise<OpenDeploymentStore>): void {
  describe(`DeploymentStore on ${name}`, () => {
    let opened: OpenDeploymentStore;
    let store: DeploymentStore;
    beforeAll(async () => {
      opened = await open();
      [store] = opened.stores;
    });
    afterAll(() => opened.close());

    async function insert(more: Partial<Deployment> = {}, replicas: Partial<Replica>[] = []): Promise<Deployment> {
      const deployment = deploymentOf(more);
      await store.transaction(async (tx) => {
        await tx.insertDeployment(deployment);
        for (const [ordinal, replica] of replicas.entries())
          await tx.insertReplica(replicaOf(deployment, { ordinal, ...replica }));
      });
      return deployment;
    }
    const save = (deployment: Deployment) => store.transaction((tx) => tx.saveDeployment(deployment));
    const recordChecks = (deployment: Deployment, checks: readonly HealthCheck[], announce = false) =>
      store.transaction(async (tx) => {
        for (const check of checks) await tx.recordCheck(deployment, check, announce);
      });
    const checksOf = async ({ id }: Deployment, limit = 100) => (await store.healthChecksOf([id], limit))[0] ?? [];
    const eventsOf = ({ id }: Deployment) => opened.events.readAfter(0, 1_000, id);
    const healthOf = ({ id }: Deployment) => opened.health.readAfter(0, 1_000, id);
    const sharedPlace = () => ({ toolId: `tool-${newId()}`, toolSlug: `slug-${newId()}` });

    /** In a transaction that is undone when `work` has ended. */
    const undone = async (work: (tx: DeploymentTransaction) => Promise<void>) => {
      const failing = store.transaction(async (tx) => {
        await work(tx);
        throw new Undone();
      });
      await expect(failing).rejects.toBeInstanceOf(Undone);
    };

    describe("a transaction", () => {
      testMethods<DeploymentTransaction>({
        load() {
          test("sees its own writes, which nobody else does before it has ended", async () => {
            const deployment = deploymentOf();
            const replica = replicaOf(deployment);
            await store.transaction(async (tx) => {
              expect(await tx.load(deployment.id)).toBeNull();
              await tx.insertDeployment(deployment);
              await tx.insertReplica(replica);
              expect(await tx.load(deployment.id)).toEqual({ deployment, replicas: [replica] });
              for (const other of opened.stores) expect(await other.load(deployment.id)).toBeNull();
            });
            for (const other of opened.stores)
              expect(await other.load(deployment.id)).toEqual({ deployment, replicas: [replica] });
          });
        },

        hasActive() {
          test("says whether a deployment that is to run has the route of a tool and environment", async () => {
            const place = sharedPlace();
            await insert({ ...place, role: "PENDING" });
            await insert({ ...place, desired: "STOP" });
            await insert({ ...place, environment: "STAGING" });
            await store.transaction(async (tx) => {
              expect(await tx.hasActive(place.toolId, "PRODUCTION")).toBe(false);
              await tx.insertDeployment(deploymentOf(place));
              expect(await tx.hasActive(place.toolId, "PRODUCTION")).toBe(true);
              expect(await tx.hasActive(place.toolId, "STAGING")).toBe(true);
              expect(await tx.hasActive(place.toolId.toUpperCase(), "PRODUCTION")).toBe(false);
            });
          });

          test("says so to one of those who deploy a tool at once, in any process", async () => {
            const place = sharedPlace();
            const found = await Promise.all(
              Array.from({ length: 6 }, (_, n) =>
                opened.stores[n % 2 === 0 ? 0 : 1].transaction(async (tx) => {
                  const isFirst = !(await tx.hasActive(place.toolId, "PRODUCTION"));
                  await tx.insertDeployment(deploymentOf({ ...place, role: isFirst ? "ACTIVE" : "PENDING" }));
                  return isFirst;
                }),
              ),
            );
            expect(found.filter((isFirst) => isFirst)).toHaveLength(1);
          });
        },

        runningBefore() {
          test("answers those of a tool and environment that are to run and were made before, the oldest first", async () => {
            const place = sharedPlace();
            const first = await insert(place);
            await insert({ ...place, desired: "STOP" });
            await insert({ ...place, environment: "STAGING" });
            await insert({ ...place, toolId: place.toolId.toUpperCase() });
            const second = await insert({ ...place, status: "FAILED", role: "RETIRED" });
            const third = await insert(place);
            await insert(place);
            await store.transaction(async (tx) => {
              expect(await tx.runningBefore(third)).toEqual([first.id, second.id]);
              expect(await tx.runningBefore(first)).toEqual([]);
            });
          });
        },

        insertDeployment() {
          test("keeps a deployment as it is", async () => {
            const deployment = await insert({
              toolSlug: ODD_TEXTS.join("").slice(0, 63),
              ownerId: "owner",
              templateId: "template",
              launch: launchSchema.parse({
                kind: "http",
                command: LONG,
                args: [...ODD_TEXTS, ""],
                env: [{ name: "A", value: "\u0001\u{1f600}", secret: true }],
              }),
              // Any JSON object.
              configuration: ODD_JSON as Record<string, unknown>,
              sealedConfiguration: LONG,
              reason: LONG,
              words: `${LONG}%_\\`,
              everReady: true,
              deployedById: "somebody",
              deployedAt: NOW + 1,
              stoppedAt: 253_402_300_799_999,
              lastHealthCheckAt: 0,
              settledAt: 1,
              desiredReplicas: 2_147_483_647,
            });
            const found = await store.find(deployment.id);
            expect(found).toEqual(deployment);
            expect(JSON.stringify(found?.configuration)).toBe(JSON.stringify(ODD_JSON));
          });

          test("keeps what it cannot read of a launch, such as a later version's, as it was written", async () => {
            const launch = {
              kind: "unreadable",
              text: `{"kind":"later",  "a":"${LONG}"}`,
              options: DEFAULT_OPTIONS,
            } as const;
            const deployment = await insert({ launch });
            expect((await store.find(deployment.id))?.launch).toEqual(launch);
          });

          test.each([null, {}])("tells a configuration of %j from others", async (configuration) => {
            const { id } = await insert({ configuration });
            expect((await store.find(id))?.configuration).toEqual(configuration);
          });

          test("refuses a name that is taken, to all but one of those who take it at once", async () => {
            const name = `raced-${newId()}`;
            const outcomes = await Promise.allSettled(
              [0, 1, 0, 1].map((n) =>
                opened.stores[n === 0 ? 0 : 1].transaction((tx) => tx.insertDeployment(deploymentOf({ name }))),
              ),
            );
            expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
          });
        },

        insertReplica() {
          test("keeps replicas as they are, by ordinal", async () => {
            const deployment = await insert();
            const states: ReplicaState[] = [
              { phase: "PENDING" },
              { phase: "STARTING", since: NOW, reason: LONG, words: null },
              { phase: "UNHEALTHY", since: NOW, failures: 2, successes: 0, reason: "\u{1f600}", words: "" },
              { phase: "BACKOFF", until: NOW, reason: "it ended", words: LONG },
              { phase: "STOPPING", since: NOW, then: "RETRY", reason: "r", words: "null" },
            ];
            const replicas = states.map((state, ordinal) =>
              replicaOf(deployment, {
                ordinal,
                state,
                handle: handleOf(`h-${ordinal}`),
                previousHandle: ordinal === 0 ? null : handleOf("previous"),
                sealedToken: LONG,
                startedAt: NOW,
                lastProbeAt: NOW + 1,
              }),
            );
            await store.transaction(async (tx) => {
              for (const replica of replicas.toReversed()) await tx.insertReplica(replica);
            });
            expect(await store.replicasOf([deployment.id])).toEqual(replicas);
          });

          test("refuses a port that a replica of the host has, and leaves nothing of what was done with it", async () => {
            const port = 9_001;
            await insert({}, [{ port }]);
            const other = deploymentOf();
            const inserting = store.transaction(async (tx) => {
              await tx.insertDeployment(other);
              tx.emit(other, [{ kind: "DEPLOYED", message: "It was deployed." }]);
              await tx.insertReplica(replicaOf(other, { port }));
            });
            await expect(inserting).rejects.toBeInstanceOf(PortTakenError);
            expect(await store.find(other.id)).toBeNull();
            expect(await eventsOf(other)).toEqual([]);
            await insert({}, [{ port, hostId: "host-2" }]);
            await insert({}, [{ port: null }, { port: null }]);
          });

          test("gives a port to one of those who take it at once", async () => {
            const port = 9_002;
            const outcomes = await Promise.allSettled(
              [0, 1, 0, 1].map((n) =>
                opened.stores[n === 0 ? 0 : 1].transaction(async (tx) => {
                  const deployment = deploymentOf();
                  await tx.insertDeployment(deployment);
                  await tx.insertReplica(replicaOf(deployment, { port }));
                }),
              ),
            );
            const refused = outcomes.flatMap((outcome) =>
              outcome.status === "rejected" ? [outcome.reason as unknown] : [],
            );
            expect(refused).toHaveLength(3);
            for (const reason of refused) expect(reason).toBeInstanceOf(PortTakenError);
          });

          test("refuses a second replica at an ordinal, which is no port that is taken", async () => {
            const deployment = await insert({}, [{}]);
            const again = store.transaction((tx) => tx.insertReplica(replicaOf(deployment)));
            await expect(again).rejects.not.toBeInstanceOf(PortTakenError);
          });
        },

        saveDeployment() {
          test("writes all of it, and counts how often by itself", async () => {
            const deployment = await insert({ reason: "before", configuration: { a: 1 } });
            const other = await insert();
            const changed: Deployment = {
              ...deployment,
              status: "RUNNING",
              health: "HEALTHY",
              reason: null,
              configuration: null,
              everReady: true,
              deployedAt: NOW + 5,
              role: "RETIRED",
            };
            await save(changed);
            await save({ ...changed, revision: 0 });
            expect(await store.find(deployment.id)).toEqual({ ...changed, revision: 2 });
            expect(await store.find(other.id)).toEqual(other);
          });

          test("keeps the newest hundred checks of a deployment that has ended", async () => {
            const deployment = await insert();
            const checks = Array.from({ length: 120 }, () => checkOf(deployment));
            await recordChecks(deployment, checks);
            await save({ ...deployment, desired: "STOP", status: "STOPPED", settledAt: NOW });
            expect(await checksOf(deployment, 120)).toEqual(checks.toReversed().slice(0, 100));
          });
        },

        saveReplica() {
          test("writes all of it, and removes one that is stopped", async () => {
            const deployment = await insert({}, [{ handle: handleOf("h") }, {}]);
            const [one, other] = (await store.replicasOf([deployment.id])) as [Replica, Replica]; // as inserted
            const ready: Replica = {
              ...one,
              state: { phase: "READY", since: NOW },
              handle: null,
              port: 9_010,
              restarts: 3,
            };
            await store.transaction(async (tx) => {
              await tx.saveReplica(ready);
              await tx.saveReplica({ ...other, state: { phase: "STOPPED" } });
            });
            expect(await store.replicasOf([deployment.id])).toEqual([ready]);
          });

          test("refuses a port that another has, and frees that of one that is stopped or needs none any more", async () => {
            const deployment = await insert({}, [{ port: 9_020 }, { port: 9_021 }, { port: 9_022 }]);
            const [first, second, third] = (await store.replicasOf([deployment.id])) as [Replica, Replica, Replica];
            const taking = (port: number) => store.transaction((tx) => tx.saveReplica({ ...third, port }));
            await expect(taking(9_020)).rejects.toBeInstanceOf(PortTakenError);
            await store.transaction((tx) => tx.saveReplica({ ...first, state: { phase: "STOPPED" } }));
            await taking(9_020);
            await expect(taking(9_021)).rejects.toBeInstanceOf(PortTakenError);
            await store.transaction((tx) => tx.saveReplica({ ...second, port: null }));
            await taking(9_021);
          });
        },

        recordCheck() {
          test("keeps checks as they are, and tells of those that are announced", async () => {
            const deployment = await insert();
            const quiet = checkOf(deployment, { at: NOW + 1, latencyMs: 0 });
            const told = checkOf(deployment, {
              replicaId: "replica",
              at: NOW + 2,
              status: "UNHEALTHY",
              latencyMs: 30_000.125,
              detail: LONG,
              words: "\u{1f600}\n%",
            });
            await recordChecks(deployment, [quiet]);
            await recordChecks(deployment, [told], true);
            expect(await checksOf(deployment)).toEqual([told, quiet]);
            expect(await healthOf(deployment)).toEqual([
              {
                sequence: expect.any(Number),
                at: NOW + 2,
                kind: "UNHEALTHY",
                subjectId: deployment.id,
                payload: { toolId: deployment.toolId, check: told },
              },
            ]);
          });
        },

        saveInterface() {
          test("writes an interface with all else, or not at all", async () => {
            const deployment = await insert();
            const stored = interfaceOf({ toolId: deployment.toolId, deploymentId: deployment.id });
            const write = { stored, replaces: null, change: null };
            await undone(async (tx) => expect(await tx.saveInterface(write)).toBe(true));
            // Nothing is there.
            await undone(async (tx) => expect(await tx.saveInterface({ ...write, replaces: stored.hash })).toBe(false));
            await store.transaction(async (tx) => expect(await tx.saveInterface(write)).toBe(true));
            await undone(async (tx) => expect(await tx.saveInterface(write)).toBe(false));
          });
        },

        emit() {
          test("appends events in their order, with the deployment as it was given, once the work is done", async () => {
            const deployment = await insert();
            const running: Deployment = { ...deployment, status: "RUNNING", health: "HEALTHY" };
            const started: DeploymentEventDraft = {
              kind: "STARTED",
              message: LONG,
              words: "\u{1f600}",
              data: { z: [null], a: {} },
            };
            await store.transaction(async (tx) => {
              tx.emit(deployment, [{ kind: "FIRST", message: "1", by: "somebody" }]);
              tx.emit(running, [started, { kind: "LAST", message: "3" }]);
              expect(await eventsOf(deployment)).toEqual([]);
            });
            const { toolId, environment } = deployment;
            const of = { toolId, environment, words: null, data: null };
            expect((await eventsOf(deployment)).map(({ kind, payload }) => ({ kind, payload }))).toEqual([
              { kind: "FIRST", payload: { ...of, status: "STARTING", health: "UNKNOWN", message: "1" } },
              {
                kind: "STARTED",
                payload: {
                  ...of,
                  status: "RUNNING",
                  health: "HEALTHY",
                  message: LONG,
                  words: "\u{1f600}",
                  data: started.data,
                },
              },
              { kind: "LAST", payload: { ...of, status: "RUNNING", health: "HEALTHY", message: "3" } },
            ]);
          });
        },
      });
    });

    testMethods<DeploymentStore>({
      transaction() {
        test("answers what the work answers", async () => {
          expect(await store.transaction(async () => 7)).toBe(7);
        });

        test("undoes all of work that throws, and tells nobody", async () => {
          const kept = await insert({}, [{ port: 9_030 }]);
          const [replica] = (await store.replicasOf([kept.id])) as [Replica]; // as inserted
          const gone = deploymentOf();
          await undone(async (tx) => {
            await tx.insertDeployment(gone);
            await tx.insertReplica(replicaOf(gone));
            await tx.saveDeployment({ ...kept, status: "FAILED" });
            await tx.saveReplica({ ...replica, state: { phase: "STOPPED" } });
            await tx.recordCheck(kept, checkOf(kept), true);
            tx.emit(kept, [{ kind: "TESTED", message: "It was tested." }]);
          });
          expect(await store.load(gone.id)).toBeNull();
          expect(await store.load(kept.id)).toEqual({ deployment: kept, replicas: [replica] });
          expect(await checksOf(kept)).toEqual([]);
          expect(await eventsOf(kept)).toEqual([]);
          expect(await healthOf(kept)).toEqual([]);
        });

        test("runs one after another, in all processes, so that what one has read still holds when it writes", async () => {
          const { id } = await insert({ trafficWeight: 0 });
          await Promise.all(
            Array.from({ length: 20 }, (_, n) =>
              opened.stores[n % 2 === 0 ? 0 : 1].transaction(async (tx) => {
                const record = await tx.load(id);
                if (!record) throw new Error("It is not there.");
                const { deployment } = record;
                await tx.saveDeployment({ ...deployment, trafficWeight: deployment.trafficWeight + 1 });
              }),
            ),
          );
          expect(await store.find(id)).toMatchObject({ trafficWeight: 20, revision: 20 });
        });
      },

      find() {
        test("finds a deployment by its id as it is", async () => {
          const deployment = await insert();
          expect(await store.find(deployment.id)).toEqual(deployment);
          for (const id of [newId(), "", "%", deployment.id.toUpperCase(), `${deployment.id} `])
            expect(await store.find(id)).toBeNull();
        });
      },

      findByName() {
        test("finds a deployment by its name as it is", async () => {
          const deployment = await insert({ name: `name-${newId()}` });
          expect(await store.findByName(deployment.name)).toEqual(deployment);
          for (const other of [
            "",
            "%",
            deployment.name.toUpperCase(),
            `${deployment.name} `,
            deployment.name.replace("a", "\u00e4"),
          ])
            expect(await store.findByName(other)).toBeNull();
        });
      },

      ofSlug() {
        test("answers what is in place of a tool that is to run, or else the last that was", async () => {
          const place = sharedPlace();
          const first = await insert(place);
          const staging = await insert({ ...place, environment: "STAGING", role: "PENDING" });
          const pending = await insert({ ...place, role: "PENDING" });
          const stopped = await insert({ ...place, desired: "STOP" });
          expect(newestFirst(await store.ofSlug(place.toolSlug))).toEqual([staging, first]);
          for (const each of [first, staging, pending]) await save({ ...each, desired: "STOP" });
          expect(idsOf(await store.ofSlug(place.toolSlug))).toEqual([stopped.id]);
          for (const slug of ["none", "", place.toolSlug.toUpperCase(), `${place.toolSlug} `])
            expect(await store.ofSlug(slug)).toEqual([]);
        });
      },

      newestNames() {
        test("answers the newest names and slugs", async () => {
          const made = [await insert(), await insert(), await insert({ status: "FAILED", desired: "STOP" })];
          expect((await store.newestNames(3)).map(({ name: one, toolSlug }) => [one, toolSlug])).toEqual(
            made.toReversed().map(({ name: one, toolSlug }) => [one, toolSlug]),
          );
        });
      },

      findMany() {
        test("answers those that there are, each once", async () => {
          const [one, other] = [await insert(), await insert()];
          expect(newestFirst(await store.findMany([one.id, other.id, one.id, newId()]))).toEqual([other, one]);
          expect(await store.findMany([])).toEqual([]);
        });
      },

      load() {
        test("answers a deployment with its replicas, of which it may have none", async () => {
          const [none, two] = [await insert(), await insert({}, [{}, {}])];
          expect(await store.load(none.id)).toEqual({ deployment: none, replicas: [] });
          expect((await store.load(two.id))?.replicas.map(({ ordinal }) => ordinal)).toEqual([0, 1]);
          expect(await store.load(newId())).toBeNull();
        });
      },

      loadMany() {
        test("answers those that there are with their replicas, by id", async () => {
          const made = [await insert({}, [{}, {}]), await insert(), await insert({}, [{}])];
          const ids = idsOf(made);
          const records = await store.loadMany([...ids.toReversed(), newId()]);
          expect(idsOf(records.map(({ deployment }) => deployment))).toEqual(ids);
          expect(
            records.map(({ replicas }) => replicas.map(({ deploymentId, ordinal }) => [deploymentId, ordinal])),
          ).toEqual([
            [
              [ids[0], 0],
              [ids[0], 1],
            ],
            [],
            [[ids[2], 0]],
          ]);
          expect(await store.loadMany([])).toEqual([]);
        });
      },

      page() {
        const [toolId, templateId] = ["paged-tool", "paged-template"];
        const made: Deployment[] = [];
        beforeAll(async () => {
          for (let n = 0; n < 40; n++) {
            const status = DEPLOYMENT_STATUSES[n % DEPLOYMENT_STATUSES.length] ?? "FAILED";
            made.push(
              await insert({
                toolId,
                templateId: n % 3 === 0 ? templateId : null,
                status,
                environment: n % 4 < 2 ? "STAGING" : "PRODUCTION",
              }),
            );
          }
        });
        const filters: DeploymentFilter[] = [undefined, "RUNNING" as const].flatMap((status) =>
          [undefined, "STAGING" as const].flatMap((environment) =>
            [undefined, true, false].flatMap((includeFailed) =>
              [
                { toolId },
                { templateId },
                { toolId, templateId },
                { toolId, ofTemplate: true },
                { ofTemplate: true },
                {},
              ].map((parents) => ({
                ...parents,
                status,
                environment,
                includeFailed,
              })),
            ),
          ),
        );
        const fits = (filter: DeploymentFilter) => (deployment: Deployment) =>
          (["toolId", "templateId", "status", "environment"] as const).every(
            (key) => filter[key] === undefined || filter[key] === deployment[key],
          ) &&
          (!filter.ofTemplate || deployment.templateId !== null) &&
          (filter.includeFailed !== false || deployment.status !== "FAILED");

        test.each(filters)(
          "goes over what was made in the same millisecond, newest first, each once: %j",
          async (filter) => {
            const isOfThese = filter.toolId !== undefined || filter.templateId !== undefined;
            const wanted = newestFirst(made.filter(fits(filter)));
            for (const limit of isOfThese ? [1, 7, 40] : [25]) {
              const found = await everyPage(
                (page) => store.page(filter, page).rows(),
                ({ id }) => id,
                limit,
              );
              expect(found.filter((each) => each.toolId === toolId)).toEqual(wanted);
              if (isOfThese) expect(found).toEqual(wanted);
              else expect(found).toEqual(newestFirst(found.filter(fits(filter))));
              for (const page of [
                FIRST_PAGE,
                { limit: 1, afterId: wanted[1]?.id ?? null, offset: 0 },
                { limit: 1, afterId: null, offset: 2 },
              ])
                expect(await store.page(filter, page).totalCount()).toBe(found.length);
            }
          },
        );

        test("has nothing behind its end, and no tool of another's letters", async () => {
          expect(await store.page({ toolId }, { ...FIRST_PAGE, offset: 40 }).rows()).toEqual([]);
          expect(await store.page({ toolId }, { ...FIRST_PAGE, afterId: made[0]?.id ?? "" }).rows()).toEqual([]);
          for (const other of ["PAGED-TOOL", "paged-tool ", "paged_tool", "%", ""])
            expect(await store.page({ toolId: other }, FIRST_PAGE).rows()).toEqual([]);
        });
      },

      pagesOf() {
        test("pages the deployments of each tool or template, newest first", async () => {
          const places = [sharedPlace(), sharedPlace()] as const;
          const made: Deployment[] = [];
          for (let n = 0; n < 9; n++)
            made.push(
              await insert({
                ...places[n % 3 === 0 ? 0 : 1],
                templateId: `of-${places[0].toolId}`,
                environment: n % 2 === 0 ? "STAGING" : "PRODUCTION",
              }),
            );
          const ids = [places[1].toolId, "nothing", places[0].toolId];
          const of = (place: { toolId: string }, filter = {}) =>
            newestFirst(made.filter((each) => each.toolId === place.toolId && fitsIn(filter, each)));
          const fitsIn = ({ environment }: { environment?: string }, each: Deployment) =>
            environment === undefined || each.environment === environment;
          for (const filter of [{}, { environment: "STAGING" as const }]) {
            const read = async (page: Page) => (await store.pagesOf("toolId", ids, filter, page))[0] ?? [];
            for (const limit of [1, 2, 9])
              expect(await everyPage(read, ({ id }) => id, limit)).toEqual(of(places[1], filter));
            expect(await store.pagesOf("toolId", ids, filter, FIRST_PAGE)).toEqual([
              of(places[1], filter),
              [],
              of(places[0], filter),
            ]);
          }
          expect(await store.pagesOf("templateId", [`of-${places[0].toolId}`], {}, FIRST_PAGE)).toEqual([
            newestFirst(made),
          ]);
          expect(await store.pagesOf("toolId", [], {}, FIRST_PAGE)).toEqual([]);
        });
      },

      countsOf() {
        test("counts the deployments of each tool or template, in their order", async () => {
          const place = { ...sharedPlace(), templateId: `template-${newId()}` };
          await insert(place);
          await insert({ ...place, environment: "STAGING" });
          expect(await store.countsOf("toolId", ["nothing", place.toolId], {})).toEqual([0, 2]);
          expect(await store.countsOf("toolId", [place.toolId], { environment: "STAGING" })).toEqual([1]);
          expect(await store.countsOf("templateId", [place.templateId], {})).toEqual([2]);
          expect(await store.countsOf("templateId", [], {})).toEqual([]);
        });
      },

      inPlace() {
        test("answers of each tool and environment the newest that has the route, or else the newest that is to run", async () => {
          const [one, other, none] = [sharedPlace(), sharedPlace(), sharedPlace()];
          await insert(one);
          const active = await insert(one);
          await insert({ ...one, role: "PENDING" });
          await insert({ ...one, environment: "STAGING", role: "RETIRED" });
          const newest = await insert({ ...one, environment: "STAGING", role: "PENDING" });
          const alone = await insert({ ...other, role: "PENDING" });
          await insert({ ...other, desired: "STOP" });
          await insert({ ...none, desired: "STOP" });
          const found = await store.inPlace([one.toolId, none.toolId, other.toolId, "nothing"]);
          expect(newestFirst(found)).toEqual([alone, newest, active]);
          expect(await store.inPlace([])).toEqual([]);
        });
      },

      runningOf() {
        test("answers all of a tool that are to run, in any environment", async () => {
          const place = sharedPlace();
          const made = [await insert(place), await insert({ ...place, environment: "STAGING", role: "RETIRED" })];
          await insert({ ...place, desired: "STOP" });
          expect((await store.runningOf(place.toolId)).toSorted()).toEqual(idsOf(made));
          expect(await store.runningOf(place.toolId.toUpperCase())).toEqual([]);
        });
      },

      replicasOf() {
        test("answers the replicas of several deployments, each in the order of its ordinals", async () => {
          const [one, other] = [await insert({}, [{}, {}]), await insert({}, [{}])];
          const found = await store.replicasOf([other.id, one.id, newId()]);
          expect(found.filter(({ deploymentId }) => deploymentId === one.id).map(({ ordinal }) => ordinal)).toEqual([
            0, 1,
          ]);
          expect(found).toHaveLength(3);
          expect(await store.replicasOf([])).toEqual([]);
        });
      },

      unsettled() {
        test("answers ids and revisions of those that may need work, by id", async () => {
          const [one, ended, other] = [await insert(), await insert({ settledAt: NOW }), await insert()];
          await save(other);
          const found = await store.unsettled();
          expect(idsOf(found)).toEqual(idsOf(found).toSorted());
          expect(idsOf(found)).not.toContain(ended.id);
          expect(found.filter(({ id }) => id === one.id || id === other.id)).toEqual([
            { id: one.id, revision: 0 },
            { id: other.id, revision: 1 },
          ]);
        });
      },

      hostIds() {
        test("answers each host that has replicas once", async () => {
          await insert({}, [{ hostId: "zeta" }, { hostId: "zeta" }]);
          const { id } = await insert({}, [{ hostId: "\u{1f600}" }]);
          const found = await store.hostIds();
          expect(found).toEqual([...new Set(found)]);
          expect(found).toEqual(expect.arrayContaining(["host-1", "zeta", "\u{1f600}"]));
          const [replica] = (await store.replicasOf([id])) as [Replica]; // as inserted
          await store.transaction((tx) => tx.saveReplica({ ...replica, state: { phase: "STOPPED" } }));
          expect(await store.hostIds()).not.toContain("\u{1f600}");
        });
      },

      portsInUse() {
        test("answers the ports of a host alone", async () => {
          await insert({}, [
            { hostId: "ports", port: 1 },
            { hostId: "ports", port: null },
            { hostId: "Ports", port: 2 },
            { hostId: "ports", port: 65_535 },
          ]);
          expect(await store.portsInUse("ports")).toEqual(new Set([1, 65_535]));
          expect(await store.portsInUse("nowhere")).toEqual(new Set());
        });
      },

      replicaCounts() {
        test("answers how many replicas of each host there are", async () => {
          await insert({}, [{ hostId: "counted" }, { hostId: "counted", port: 7 }, { hostId: "Counted" }]);
          const counts = await store.replicaCounts(["counted", "Counted", "nowhere"]);
          expect(counts).toEqual(
            new Map([
              ["counted", 2],
              ["Counted", 1],
              ["nowhere", 0],
            ]),
          );
        });
      },

      healthChecksOf() {
        test("answers the newest of each deployment, and keeps the newest hundred however many are recorded", async () => {
          const [many, few, none] = [await insert(), await insert(), await insert()];
          const checks = Array.from({ length: 230 }, () => checkOf(many));
          for (let n = 0; n < checks.length; n += 23) await recordChecks(many, checks.slice(n, n + 23));
          const one = checkOf(few);
          await recordChecks(few, [one]);
          expect(await checksOf(many)).toEqual(checks.toReversed().slice(0, 100));
          expect(await store.healthChecksOf([few.id, none.id, many.id], 2)).toEqual([
            [one],
            [],
            checks.slice(-2).toReversed(),
          ]);
          expect(await store.healthChecksOf([], 2)).toEqual([]);
        });
      },

      recordQuietProbes() {
        test("writes the checks, and when each replica and deployment was last looked at, and nothing else", async () => {
          const deployment = await insert({}, [{ incarnation: 1 }, { incarnation: 2 }]);
          const [one, other] = (await store.replicasOf([deployment.id])) as [Replica, Replica]; // as inserted
          const probe = (replica: Replica, at: number, more: Partial<HealthCheck> = {}) => ({
            replicaId: replica.id,
            incarnation: replica.incarnation,
            check: checkOf(deployment, { replicaId: replica.id, at, ...more }),
          });
          const probes = [
            probe(one, NOW + 1, { latencyMs: 3, detail: null, words: null }),
            probe(one, NOW + 7, { latencyMs: 0.5, detail: LONG, words: '\u{1f600}"\\' }),
            probe(other, NOW + 3, { kind: ODD_TEXTS.join("").slice(0, 200) }),
          ];
          await store.recordQuietProbes(probes);
          expect(await checksOf(deployment)).toEqual(probes.map(({ check }) => check).toReversed());
          expect(await store.load(deployment.id)).toEqual({
            deployment: { ...deployment, lastHealthCheckAt: NOW + 7 },
            replicas: [
              { ...one, lastProbeAt: NOW + 7 },
              { ...other, lastProbeAt: NOW + 3 },
            ],
          });
          expect(await healthOf(deployment)).toEqual([]);
          expect(await eventsOf(deployment)).toEqual([]);
          await store.recordQuietProbes([probe(other, NOW + 5)]);
          expect(await store.find(deployment.id)).toMatchObject({ lastHealthCheckAt: NOW + 7 });
          await store.recordQuietProbes([]);
        });

        test("leaves out those of a process that its replica no longer has", async () => {
          const deployment = await insert({}, [{ incarnation: 2 }]);
          const [replica] = (await store.replicasOf([deployment.id])) as [Replica]; // as inserted
          const check = checkOf(deployment, { replicaId: replica.id });
          await store.recordQuietProbes([
            { replicaId: replica.id, incarnation: 1, check },
            { replicaId: newId(), incarnation: 2, check },
          ]);
          expect(await checksOf(deployment)).toEqual([]);
          expect(await store.load(deployment.id)).toEqual({ deployment, replicas: [replica] });
        });
      },

      trimHealthChecks() {
        const at = (ms: number, n: number) => `${firstIdAt(ms)}7000-8000-${String(n).padStart(12, "0")}`;

        test("removes checks older than a time, and no other, and none once it is told to end", async () => {
          const deployment = await insert();
          const [old, fresh] = [5_000, 5_001].map((ms) => checkOf(deployment, { id: at(ms, 1), at: ms }));
          await recordChecks(
            deployment,
            [old, fresh].flatMap((check) => check ?? []),
          );
          await store.trimHealthChecks(5_001, { signal: AbortSignal.abort() });
          expect(await checksOf(deployment)).toEqual([fresh, old]);
          await store.trimHealthChecks(5_001);
          expect(await checksOf(deployment)).toEqual([fresh]);
        });
      },

      countByStatus() {
        test("counts each status, zero as well, and what another process has changed", async () => {
          const counts = await store.countByStatus();
          expect([...counts.keys()].toSorted()).toEqual(DEPLOYMENT_STATUSES.toSorted());
          const deployment = deploymentOf({ status: "STOPPING" });
          await opened.stores[1].transaction(async (tx) => {
            await tx.insertDeployment(deployment);
            tx.emit(deployment, [{ kind: "DEPLOYED", message: "It was deployed." }]);
          });
          const expected = new Map(counts).set("STOPPING", (counts.get("STOPPING") ?? 0) + 1);
          expect(await store.countByStatus()).toEqual(expected);
        });
      },

      failedWithRemains() {
        test("answers those that failed before a time and have something left of a process, by id", async () => {
          const reason = { reason: "r", words: null };
          const failed = { state: { phase: "FAILED", ...reason }, handle: handleOf("h") } as const;
          const ended = { status: "FAILED", settledAt: NOW } as const;
          const made = [
            await insert(ended, [failed, {}]),
            await insert(ended, [{ ...failed, handle: null, previousHandle: handleOf("p") }]),
            await insert(ended, [failed]),
          ];
          await insert(ended, [{ ...failed, handle: null }]);
          await insert(ended, [{ handle: handleOf("h") }]);
          await insert({ ...ended, settledAt: NOW + 1 }, [failed]);
          await insert({ ...ended, settledAt: null }, [failed]);
          const read = async (after: string, limit: number) =>
            (await store.failedWithRemains({ before: NOW + 1, after, limit })).map(({ deployment, replicas }) => [
              deployment.id,
              replicas.length,
            ]);
          const all = [
            [made[0]?.id, 2],
            [made[1]?.id, 1],
            [made[2]?.id, 1],
          ];
          expect(await read("", 10)).toEqual(all);
          expect(await read("", 2)).toEqual(all.slice(0, 2));
          expect(await read(made[1]?.id ?? "", 10)).toEqual(all.slice(2));
          expect(await store.failedWithRemains({ before: NOW, after: "", limit: 10 })).toEqual([]);
        });
      },
    });
  });
}
