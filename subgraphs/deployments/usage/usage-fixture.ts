import { newId, type Caller } from "@toolyard/service-kit";
import { openDatabase, readMigrations, type Database } from "@toolyard/storage";
import { entities, migrationsFolder } from "../database.ts";
import { createListedNames, type ListedNames } from "./listed-names.ts";
import { createUsageService, type UsageService } from "./usage-service.ts";
import type { UsageStore } from "./usage-store.ts";
import { createSqlUsageStore } from "./usage-store.sql.ts";
import type { UsageSummary } from "./usage-summary.ts";
import type { UsageWindow } from "./usage-window.ts";

export interface UsageFixture extends AsyncDisposable {
  database: Database;
  store: UsageStore;
  service: UsageService;
  listed: ListedNames;
  now: number;
  record(calls: readonly Record<string, unknown>[]): Promise<void>;
  usageOf(window: UsageWindow, tool?: string): Promise<UsageSummary>;
}

/** Some time on 2026-03-11, in UTC. */
export const NOON: number = Date.UTC(2026, 2, 11, 12, 0, 30);

/** A call as a proxy reports it. */
export function call(more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    at: NOON,
    toolId: "tool-1",
    deploymentId: "deployment-1",
    endpoint: "/mcp/{slug}/v1/mcp",
    method: "POST",
    mcpMethod: "tools/call",
    mcpTool: "forecast",
    mcpToolKnown: true,
    statusCode: 200,
    responseTimeMs: 10,
    ...more,
  };
}

/** Whoever asks may: what callers may do is tested at the graph. */
export const anybody = { require() {} } as unknown as Caller;

/** The usage service on a database in memory, at NOON. */
export async function createUsageFixture(): Promise<UsageFixture> {
  const database = await openDatabase({ file: ":memory:", entities, migrations: readMigrations(migrationsFolder) });
  const store = createSqlUsageStore(database);
  const listed = createListedNames();
  const service = createUsageService({ store, listed, now: () => fixture.now });
  const fixture: UsageFixture = {
    database,
    store,
    service,
    listed,
    now: NOON,
    async record(calls) {
      await service.record(anybody, { id: newId(), records: calls });
    },
    async usageOf(window, tool = "tool-1") {
      const [summary] = await service.summaries(anybody, { by: "toolId", ids: [tool] }, window);
      return summary as UsageSummary; // one for each id
    },
    [Symbol.asyncDispose]: () => database.close(),
  };
  return fixture;
}
