import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openDatabase, readMigrations } from "@toolyard/storage";
import LibsqlDatabase from "libsql";
import { expect, test } from "vitest";
import { deploymentEntity, entities, migrationsFolder, usageBucketEntity } from "./database.ts";
import { createSqlRouteStore } from "./routes/route-store.sql.ts";

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
    insert(file, rows);

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

test("a deployment of an earlier version, whose launch says less, is read with what launches say by default", async () => {
  const folder = await mkdtemp(join(tmpdir(), "toolyard-deployments-"));
  try {
    const file = join(folder, "deployments.sqlite");
    const migrations = readMigrations(migrationsFolder);
    await (await openDatabase({ file, entities, migrations: migrations.slice(0, 1) })).close();
    const options = {
      timeoutSeconds: 30,
      maxConcurrentCalls: null,
      health: { livenessPath: null, readinessPath: null, startTimeoutSeconds: 60, intervalSeconds: 10 },
      resources: { cpus: null, memoryMb: 512 },
      enforceApproval: false,
    };
    const common = { workingDirectory: null, args: [], env: [], options };
    const launches = {
      stdio: { kind: "stdio", command: "server", sessions: "ISOLATED", ...common },
      http: { kind: "http", command: "server", path: "/mcp", ...common },
      remote: { kind: "remote", url: "https://tools.example.com/mcp", headers: [], options },
    };
    for (const [id, launch] of Object.entries(launches))
      insert(file, { deployments: { id, name: id, launch: JSON.stringify(launch) } });

    const database = await openDatabase({ file, entities, migrations });
    const deployments = await database.read.getRepository(deploymentEntity).find();
    await database.close();
    const read = Object.fromEntries(deployments.map(({ id, launch }) => [id, launch]));
    const resources = { cpus: null, memoryMb: 512, processes: null, diskMb: null };
    expect(read["stdio"]).toMatchObject({
      writablePaths: [],
      maxSessions: null,
      idleSeconds: null,
      maxMessageBytes: null,
    });
    expect(read["http"]).toMatchObject({ writablePaths: [], options: { resources } });
    expect(read["remote"]).toMatchObject({ url: "https://tools.example.com/mcp", paths: [], secretUrl: null });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("hours of usage that an earlier version summed up are summed up by days too", async () => {
  const folder = await mkdtemp(join(tmpdir(), "toolyard-deployments-"));
  try {
    const file = join(folder, "deployments.sqlite");
    const migrations = readMigrations(migrationsFolder);
    await (await openDatabase({ file, entities, migrations: migrations.slice(0, 4) })).close();
    const hour = 3_600_000;
    const day = 24 * hour;
    const at = 20_000 * day;
    const common = { deploymentId: "d", mcpTool: "forecast", toolId: "t", calls: 3, errors: 2, mcpFailures: 1 };
    for (const more of [
      { resolutionMs: hour, at, histogram: '{"-5":1,"7":2}' },
      { resolutionMs: hour, at: at + 23 * hour, histogram: '{"7":1,"8":2}' },
      { resolutionMs: hour, at: at + day, histogram: '{"9":3}' },
      { resolutionMs: hour, at, deploymentId: "e", histogram: '{"10":3}' },
      { resolutionMs: hour, at, mcpTool: "", histogram: '{"11":3}' },
      { resolutionMs: 60_000, at, histogram: '{"-5":1,"7":2}' },
    ])
      insert(file, { usage_buckets: { ...common, ...more } });

    const database = await openDatabase({ file, entities, migrations });
    const days = await database.read.getRepository(usageBucketEntity).find({
      where: { resolutionMs: day },
      order: { at: "ASC", deploymentId: "ASC", mcpTool: "ASC" },
    });
    expect(await database.read.getRepository(usageBucketEntity).countBy({})).toBe(6 + 4);
    await database.close();
    expect(days).toEqual([
      { ...common, resolutionMs: day, at, mcpTool: "", histogram: { 11: 3 } },
      { ...common, resolutionMs: day, at, calls: 6, errors: 4, mcpFailures: 2, histogram: { "-5": 1, 7: 3, 8: 2 } },
      { ...common, resolutionMs: day, at, deploymentId: "e", histogram: { 10: 3 } },
      { ...common, resolutionMs: day, at: at + day, histogram: { 9: 3 } },
    ]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("what was stopped last of each tool and environment is found in what an earlier version kept", async () => {
  const folder = await mkdtemp(join(tmpdir(), "toolyard-deployments-"));
  try {
    const file = join(folder, "deployments.sqlite");
    const migrations = readMigrations(migrationsFolder);
    const before = migrations.findIndex(({ name }) => name.endsWith("last-stopped"));
    await (await openDatabase({ file, entities, migrations: migrations.slice(0, before) })).close();
    const deployments = [
      { id: "1", toolId: "stopped", environment: "PRODUCTION", desired: "STOP" },
      { id: "2", toolId: "stopped", environment: "PRODUCTION", desired: "STOP" },
      { id: "3", toolId: "stopped", environment: "STAGING", desired: "STOP" },
      { id: "4", toolId: "running", environment: "PRODUCTION", desired: "RUN" },
      { id: "5", toolId: "running", environment: "PRODUCTION", desired: "STOP" },
    ];
    for (const row of deployments) insert(file, { deployments: { name: row.id, ...row } });
    const database = await openDatabase({ file, entities, migrations });
    const found = await createSqlRouteStore(database).stoppedFrom("", 10);
    await database.close();
    expect(found).toEqual([
      { toolId: "stopped", environment: "PRODUCTION", deploymentId: "2" },
      { toolId: "stopped", environment: "STAGING", deploymentId: "3" },
    ]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

/** Rows of an earlier version's tables; what a test does not care about holds something. */
function insert(file: string, rows: Record<string, Record<string, unknown>>): void {
  const earlier = new LibsqlDatabase(file);
  for (const [table, given] of Object.entries(rows)) {
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
}
