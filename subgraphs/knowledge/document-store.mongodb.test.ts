import { createLogger } from "@toolyard/service-kit";
import { describeOnMongodb, ownMongodb } from "@toolyard/testing/mongodb.ts";
import { documentStoreContract } from "./document-store.contract.ts";
import { createMongodbDocumentStore } from "./document-store.mongodb.ts";

const logger = createLogger({ level: "silent", name: "test" });

describeOnMongodb("on MongoDB", () =>
  documentStoreContract("MongoDB", async () => {
    const database = ownMongodb();
    const open = async () => createMongodbDocumentStore({ mongodb: await database.open(), logger });
    const stores = [await open(), await open()] as const;
    return {
      stores,
      async close() {
        for (const store of stores) await store.close();
        await database.close();
      },
    };
  }),
);
