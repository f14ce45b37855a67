import { testMethods } from "@toolyard/testing/port-contract.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Deployment } from "../deployment.ts";
import { deploymentOf } from "../deployment-fixture.ts";
import type { DeploymentStore } from "../store/deployment-store.ts";
import type { RouteStore } from "./route-store.ts";

export interface OpenRouteStore {
  routes: RouteStore;
  /** The same data: what the routes are of. */
  store: DeploymentStore;
  /** The same as another process has it open. */
  elsewhere: DeploymentStore;
  close(): Promise<void>;
}

/** What every adapter of RouteStore must show. */
export function routeStoreContract(name: string, open: () => Promise<OpenRouteStore>): void {
  describe(`RouteStore on ${name}`, () => {
    let opened: OpenRouteStore;
    let routes: RouteStore;
    beforeAll(async () => {
      opened = await open();
      ({ routes } = opened);
    });
    afterAll(() => opened.close());

    async function insert(toolId: string, more: Partial<Deployment> = {}): Promise<Deployment> {
      const deployment = deploymentOf({ toolId, ...more });
      await opened.store.transaction((tx) => tx.insertDeployment(deployment));
      return deployment;
    }
    const stop = (deployment: Deployment) =>
      opened.store.transaction((tx) => tx.saveDeployment({ ...deployment, desired: "STOP" }));
    const lastOf = ({ id, toolId, environment }: Deployment) => ({ toolId, environment, deploymentId: id });

    testMethods<RouteStore>({
      runningAfter() {
        test("goes over those that are to run, by id", async () => {
          const made = [
            await insert("after"),
            await insert("after", { role: "PENDING" }),
            await insert("after", { status: "FAILED" }),
          ];
          await stop(await insert("after"));
          const found: string[] = [];
          for (let last = ""; ; last = found.at(-1) ?? "") {
            const part = await routes.runningAfter(last, 2);
            expect(part.length).toBeLessThanOrEqual(2);
            if (part.length === 0) break;
            found.push(...part.map(({ id }) => id));
          }
          expect(found).toEqual(found.toSorted());
          expect(await routes.runningAfter(made[0]?.id ?? "", 10)).toEqual(made.slice(1));
        });
      },

      candidates() {
        test("answers the newest of each place, the newest that is active, and the newest that starts", async () => {
          const of = { role: "PENDING", status: "RUNNING" } as const;
          await insert("several", { ...of, role: "ACTIVE" });
          const active = await insert("several", { ...of, role: "ACTIVE" });
          await insert("several", { ...of, status: "STARTING" });
          const starting = await insert("several", { ...of, status: "STARTING" });
          const newest = await insert("several", of);
          const staging = await insert("several", { ...of, environment: "STAGING" });
          await stop(await insert("several", { role: "ACTIVE" }));
          await stop(await insert("none"));
          const found = await routes.candidates(["several", "none", "nothing", "SEVERAL", "several "]);
          expect(found.toSorted((one, other) => (one.environment < other.environment ? -1 : 1))).toEqual([
            {
              toolId: "several",
              environment: "PRODUCTION",
              newest: newest.id,
              active: active.id,
              starting: starting.id,
            },
            { toolId: "several", environment: "STAGING", newest: staging.id, active: null, starting: null },
          ]);
          expect(await routes.candidates([])).toEqual([]);
        });
      },

      stoppedOf() {
        test("answers places where nothing is to run any more, with what was the last there", async () => {
          const [first, second] = [await insert("stopped"), await insert("stopped")];
          const staging = await insert("stopped", { environment: "STAGING" });
          await stop(first);
          expect(await routes.stoppedOf(["stopped"])).toEqual([]);
          await stop(second);
          await stop(staging);
          const found = await routes.stoppedOf(["stopped", "nothing", "STOPPED"]);
          expect(found.toSorted((one, other) => (one.environment < other.environment ? -1 : 1))).toEqual([
            lastOf(second),
            lastOf(staging),
          ]);
          // Written again, it stays the last.
          await stop(first);
          expect(await routes.stoppedOf(["stopped"])).toContainEqual(lastOf(second));
          await insert("stopped");
          expect(await routes.stoppedOf(["stopped"])).toEqual([lastOf(staging)]);
          expect(await routes.stoppedOf([])).toEqual([]);
        });

        test("tells of no tool that is deployed in one process while its last deployment is stopped in another", async () => {
          const toolIds = Array.from({ length: 12 }, (_, n) => `crossed-${n}`);
          await Promise.all(
            toolIds.map(async (toolId) => {
              const last = await insert(toolId);
              const next = deploymentOf({ toolId });
              await Promise.all([stop(last), opened.elsewhere.transaction((tx) => tx.insertDeployment(next))]);
            }),
          );
          expect(await routes.stoppedOf(toolIds)).toEqual([]);
        });
      },

      stoppedFrom() {
        test("answers what was the last from a deployment on, up to another, by id", async () => {
          const made: Deployment[] = [];
          for (let n = 0; n < 5; n++) made.push(await insert(`from-${n}`));
          for (const each of made.toReversed()) await stop(each);
          const [, second, , fourth] = made;
          const all = made.map(lastOf);
          expect(await routes.stoppedFrom(second?.id ?? "", 10)).toEqual(all.slice(1));
          expect(await routes.stoppedFrom(second?.id ?? "", 2)).toEqual(all.slice(1, 3));
          expect(await routes.stoppedFrom(second?.id ?? "", 10, fourth?.id)).toEqual(all.slice(1, 3));
          expect(await routes.stoppedFrom(second?.id ?? "", 10, second?.id)).toEqual([]);
        });
      },

      stoppedFloor() {
        test("answers the deployment from which on there are so many", async () => {
          const made: Deployment[] = [];
          for (let n = 0; n < 3; n++) made.push(await insert(`floor-${n}`));
          for (const each of made) await stop(each);
          expect(await routes.stoppedFloor(1)).toBe(made[2]?.id);
          expect(await routes.stoppedFloor(3)).toBe(made[0]?.id);
          const count = (await routes.stoppedFrom("", 1_000)).length;
          expect(await routes.stoppedFloor(count)).not.toBe("");
          expect(await routes.stoppedFloor(count + 1)).toBe("");
        });
      },
    });
  });
}
