import { createInProcessBus } from "@toolyard/events";
import { createLogger } from "@toolyard/service-kit";
import { expect, test } from "vitest";
import { createStores } from "./stores.ts";

test("stores close in peace where one could not be opened, which only those are told who asked for it", async () => {
  const mongodb = { url: "mongodb://127.0.0.1/?noSuchOption=1", ca: null };
  const logger = createLogger({ level: "silent", name: "test" });
  const stores = createStores({ dataDir: "/nowhere", mongodb, bus: createInProcessBus(), logger });
  await expect(stores.tasks()).rejects.toThrow(/^MONGODB_URL: it has options that/);
  await stores.close();
});
