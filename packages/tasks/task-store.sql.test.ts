import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInProcessBus } from "@toolyard/events";
import { taskStoreContract } from "./task-store.contract.ts";
import { createTaskStore } from "./task-store.sql.ts";

taskStoreContract("SQLite", async (now) => {
  const dataDir = await mkdtemp(join(tmpdir(), "toolyard-tasks-"));
  const options = { dataDir, bus: createInProcessBus(), now };
  const stores = [await createTaskStore(options), await createTaskStore(options)] as const;
  return {
    stores,
    async close() {
      // The contract may have closed one.
      await Promise.allSettled(stores.map((store) => store.close()));
      await rm(dataDir, { recursive: true, force: true });
    },
  };
});
