import { createLogger, newId } from "@toolyard/service-kit";
import type { Task, TaskQueue } from "@toolyard/tasks";
import { openSqliteTwice } from "@toolyard/testing/sql-stores.ts";
import { expect, test } from "vitest";
import { entities, migrationsFolder } from "../database.ts";
import { createSqlConnectionStore } from "./connection-store.sql.ts";
import { endLostSyncs } from "./repository-sync.ts";

test("a connection whose sync ended without a word fails with the reason; others go on", async () => {
  const { opened, close } = await openSqliteTwice({ entities, migrationsFolder }, createSqlConnectionStore);
  const [store] = opened;
  const ended: Record<string, Partial<Task>> = {
    died: { status: "FAILED", error: { code: "INTERNAL_SERVER_ERROR", message: "Its process ended." } },
    called: { status: "CANCELLED", error: null },
    waits: { status: "QUEUED" },
    runs: { status: "RUNNING" },
  };
  const ids: Record<string, string> = {};
  for (const taskId of [...Object.keys(ended), "gone"]) {
    const place = { toolId: newId(), owner: "acme", repository: "weather", branch: "main", path: "" };
    const connection = await store.connect(place, { connectedById: "user", lastError: null, now: 1 });
    if (connection === "following") throw new Error("It follows already.");
    await store.begin(connection.id, taskId, null);
    ids[taskId] = connection.id;
  }
  // As far as it is asked.
  const tasks = {
    store: { getMany: async (wanted: string[]) => wanted.map((id) => (ended[id] ? { id, ...ended[id] } : null)) },
  } as unknown as TaskQueue;
  const abort = new AbortController();
  const logger = createLogger({ level: "silent", name: "test" });
  const sweeping = endLostSyncs({ store, tasks, logger, signal: abort.signal });
  const statusOf = async () => {
    const found = await store.findByIds(Object.values(ids));
    return Object.fromEntries(
      Object.entries(ids).map(([taskId, id]) => {
        const { status, lastError } = found.find((connection) => connection.id === id) ?? {};
        return [taskId, [status, lastError]];
      }),
    );
  };
  await expect.poll(statusOf).toEqual({
    died: ["FAILED", "Its process ended. Sync again."],
    called: ["CONNECTED", null],
    waits: ["SYNCING", null],
    runs: ["SYNCING", null],
    gone: ["FAILED", expect.stringContaining("Sync again.")],
  });
  abort.abort();
  await sweeping;
  await close();
});
