import { onEachDatabase } from "@toolyard/testing/sql-stores.ts";
import type { EntitySchema } from "typeorm";
import { describe } from "vitest";
import { createInProcessBus } from "./bus.ts";
import { eventLogContract } from "./event-log.contract.ts";
import { createEventLog, eventLogSchema } from "./event-log.sql.ts";

const schema = eventLogSchema("test");
const entities = [schema.events, schema.counter] as EntitySchema[]; // an EntitySchema of something is one of anything to those who only make tables of it

onEachDatabase((name, open) => {
  describe(`the event log on ${name}`, () => {
    eventLogContract(async (run) => {
      const bus = createInProcessBus();
      const { databases, opened, close } = await open({ entities }, (database) =>
        createEventLog<{ n: number }>({ database, schema, bus }),
      );
      try {
        await run({ databases, logs: opened, database: databases[0], log: opened[0], bus });
      } finally {
        await close();
      }
    });
  });
});
