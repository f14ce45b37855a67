import fc from "fast-check";
import { createEventLog, createInProcessBus } from "@toolyard/events";
import { openDatabase, readMigrations } from "@toolyard/storage";
import { expect, test } from "vitest";
import { deploymentEvents, entities, healthEvents, migrationsFolder } from "./database.ts";
import { deploymentOf } from "./deployment-fixture.ts";
import { DEPLOYMENT_STATUSES, ENVIRONMENTS } from "./deployment.ts";
import { createSqlDeploymentStore } from "./store/deployment-store.sql.ts";

const tools = ["tool-1", "tool-2"] as const;
const maybe = <Value>(values: readonly Value[]) => fc.option(fc.constantFrom(...values), { nil: undefined });

test("whatever deployments are filtered by, a page is what filtering all of them would answer", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          toolId: fc.constantFrom(...tools),
          environment: fc.constantFrom(...ENVIRONMENTS),
          status: fc.constantFrom(...DEPLOYMENT_STATUSES),
        }),
        { maxLength: 25 },
      ),
      fc.record({
        toolId: maybe(tools),
        environment: maybe(ENVIRONMENTS),
        status: maybe(DEPLOYMENT_STATUSES),
        includeFailed: maybe([true, false]),
      }),
      fc.record({
        limit: fc.integer({ min: 1, max: 4 }),
        offset: fc.integer({ min: 0, max: 3 }),
        afterId: fc.option(fc.integer({ min: 0, max: 25 }).map((index) => `id-${String(index).padStart(3, "0")}`)),
      }),
      async (drafts, filter, page) => {
        const bus = createInProcessBus();
        const database = await openDatabase({
          file: ":memory:",
          entities,
          migrations: readMigrations(migrationsFolder),
        });
        const store = createSqlDeploymentStore({
          database,
          events: createEventLog({ database, schema: deploymentEvents, bus }),
          health: createEventLog({ database, schema: healthEvents, bus }),
        });
        const all = drafts.map((draft, index) =>
          deploymentOf({ id: `id-${String(index).padStart(3, "0")}`, ...draft }),
        );
        await store.transaction(async (tx) => {
          for (const deployment of all) await tx.insertDeployment(deployment);
        });
        const { toolId, environment, status, includeFailed } = filter;
        const wanted = all
          .filter((each) => toolId === undefined || each.toolId === toolId)
          .filter((each) => environment === undefined || each.environment === environment)
          .filter((each) => status === undefined || each.status === status)
          .filter((each) => includeFailed !== false || each.status !== "FAILED")
          .map(({ id }) => id)
          .toReversed();
        const found = store.page(filter, page);
        expect((await found.rows()).map(({ id }) => id)).toEqual(
          wanted
            .filter((id) => page.afterId === null || id < page.afterId)
            .slice(page.offset, page.offset + page.limit + 1),
        );
        expect(await found.totalCount()).toBe(wanted.length);
        await database.close();
      },
    ),
    { numRuns: 60 },
  );
});
