import { createEventLog, createInProcessBus } from "@toolyard/events";
import { onEachDatabase } from "@toolyard/testing/sql-stores.ts";
import { deploymentEvents, entities, healthEvents, migrationsFolder } from "../database.ts";
import type { DeploymentEventPayload, HealthEventPayload } from "../deployment.ts";
import { deploymentStoreContract } from "./deployment-store.contract.ts";
import { createSqlDeploymentStore } from "./deployment-store.sql.ts";

onEachDatabase((name, open) =>
  deploymentStoreContract(name, async () => {
    const bus = createInProcessBus();
    const { opened, close } = await open({ entities, migrationsFolder }, (database) => {
      const events = createEventLog<DeploymentEventPayload>({ database, schema: deploymentEvents, bus });
      const health = createEventLog<HealthEventPayload>({ database, schema: healthEvents, bus });
      return { store: createSqlDeploymentStore({ database, events, health }), events, health };
    });
    const [{ store, events, health }, other] = opened;
    return { stores: [store, other.store], events, health, close };
  }),
);
