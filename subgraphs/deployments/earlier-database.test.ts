import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openDatabase, readMigrations } from "@toolyard/storage";
import LibsqlDatabase from "libsql";
import { expect, test } from "vitest";
import { entities, migrationsFolder } from "./database.ts";

test("what an earlier version kept of servers' words, and showed of configurations, is gone; the rest stays", async () => {
  const folder = await mkdtemp(join(tmpdir(), "toolyard-deployments-"));
  try {
    const file = join(folder, "deployments.sqlite");
    const migrations = readMigrations(migrationsFolder);
    await (await openDatabase({ file, entities, migrations: migrations.slice(0, 1) })).close();
    const reason = "The server exited with code 3: no such key k3y.";
    const rows: Record<string, Record<string, unknown>> = {
      deployments: {
        id: "d",
        name: "weather-1",
        reason,
        configuration: '{"key":"k3y"}',
        sealedConfiguration: "sealed",
      },
      health_checks: { id: "h", deploymentId: "d", detail: reason },
      replicas: { id: "r", deploymentId: "d", state: JSON.stringify({ phase: "BACKOFF", until: 5, reason }) },
      deployment_events: {
        sequence: 1,
        kind: "REPLICA_BACKOFF",
        payload: JSON.stringify({ toolId: "t", message: reason }),
      },
      health_events: {
        sequence: 1,
        kind: "UNHEALTHY",
        payload: JSON.stringify({ check: { id: "h", detail: reason } }),
      },
    };
    const earlier = new LibsqlDatabase(file);
    for (const [table, given] of Object.entries(rows)) {
      // What the test does not care about holds something.
      const columns = earlier.prepare(`SELECT name FROM pragma_table_info('${table}') WHERE "notnull" = 1`).all() as {
        name: string;
      }[];
      const row = { ...Object.fromEntries(columns.map(({ name }) => [name, "0"])), ...given };
      const names = Object.keys(row).map((name) => `"${name}"`);
      earlier
        .prepare(`INSERT INTO ${table} (${names.join()}) VALUES (${names.map(() => "?").join()})`)
        .run(...Object.values(row));
    }
    earlier.close();

    await (await openDatabase({ file, entities, migrations })).close();
    const later = new LibsqlDatabase(file);
    const all = Object.fromEntries(
      Object.keys(rows).map((table) => [table, later.prepare(`SELECT * FROM ${table}`).get()]),
    );
    later.close();
    expect(JSON.stringify(all)).not.toContain("k3y");
    expect(all).toMatchObject({
      deployments: { name: "weather-1", sealedConfiguration: "sealed" },
      replicas: { state: expect.stringContaining('"until":5') },
      deployment_events: { payload: expect.stringContaining('"toolId":"t"') },
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
