/**
 * Fills the stores of a stopped installation, in bulk: rows of the entities' own types, straight into their files; usage, events and
 * documents by the code that writes them in service.
 */
import { join } from "node:path";
import { createEventLog, createInProcessBus } from "@toolyard/events";
import { openDatabase, readMigrations } from "@toolyard/storage";
import * as deployments from "@toolyard/subgraph-deployments/database.ts";
import type { DeploymentEventPayload } from "@toolyard/subgraph-deployments/deployment.ts";
import { createSqlUsageStore } from "@toolyard/subgraph-deployments/usage/usage-store.sql.ts";
import * as identity from "@toolyard/subgraph-identity/database.ts";
import { createDocumentWriter } from "@toolyard/subgraph-knowledge/worker/document-writer.ts";
import type { ToolTextRow } from "@toolyard/subgraph-tools/database.ts";
import * as tools from "@toolyard/subgraph-tools/database.ts";
import * as tasks from "@toolyard/tasks/database.ts";
import LibsqlDatabase from "libsql";
import type { EntitySchema } from "typeorm";
import * as deploymentRows from "./deployment-rows.ts";
import { DAYS, HOT } from "./names.ts";
import * as rows from "./rows.ts";

/** How many of each an installation has. */
export interface Sizes {
  tools: number;
  /** Of the tool `HOT`. */
  versions: number;
  users: number;
  tasks: number;
  /** Deployments that ended; half of them of the tool `HOT`. */
  ended: number;
  /** Events of the deployment `HOT`. */
  events: number;
  records: number;
  documents: number;
}

/** Takes an installation from some sizes to larger ones. */
export async function fill(dataDir: string, from: Sizes, to: Sizes): Promise<void> {
  const added = (what: keyof Sizes) => indices(from[what], to[what]);
  fillTools(dataDir, added("tools"), added("versions"));
  write(join(dataDir, "identity.sqlite"), (insert) => {
    insert(identity.users, added("users").map(rows.userRow));
    insert(identity.apiKeys, added("users").map(rows.apiKeyRow));
    insert(identity.sessions, added("users").map(rows.sessionRow));
  });
  write(join(dataDir, "tasks.sqlite"), (insert) => insert(tasks.taskEntity, added("tasks").map(rows.taskRow)));
  write(join(dataDir, "deployments.sqlite"), (insert, database) => {
    insert(deployments.deploymentEntity, added("ended").map(deploymentRows.endedDeploymentRow));
    // As the migration that made the table.
    database.exec(
      `INSERT OR REPLACE INTO ${deployments.lastStoppedEntity.options.name} (toolId, environment, deploymentId)
        SELECT toolId, environment, MAX(id) FROM deployments GROUP BY toolId, environment`,
    );
  });
  await fillEvents(dataDir, from.events, to.events);
  await fillUsage(dataDir, to.records - from.records);
  fillDocuments(dataDir, added("documents"));
}

function fillTools(dataDir: string, added: readonly number[], versions: readonly number[]): void {
  write(join(dataDir, "tools.sqlite"), (insert, database) => {
    insert(tools.toolEntity, added.map(rows.toolRow));
    insert(tools.toolTagEntity, added.flatMap(rows.tagRows));
    insert(
      tools.toolVersionEntity,
      added.map((index) => rows.versionRow(index, 1)),
    );
    insert(
      tools.toolVersionEntity,
      versions.map((number) => rows.versionRow(HOT, number + 2)),
    );
    const { last } = database.prepare("SELECT coalesce(max(position), 0) AS last FROM tool_texts").get() as {
      last: number;
    };
    insert<ToolTextRow, "position">(tools.toolTextEntity, added.map(rows.toolTextRow));
    // As the migration that made the indexes.
    const indexed = `SELECT position, text FROM tool_texts WHERE position > ${last} AND`;
    database.exec(`INSERT INTO tool_index (rowid, text) ${indexed} NOT deleted`);
    database.exec(`INSERT INTO deleted_tool_index (rowid, text) ${indexed} deleted`);
  });
}

/** Deployments that run on another host, where this installation's engine does not reach: two routes each. */
export function fillRoutes(dataDir: string, from: number, to: number): void {
  write(join(dataDir, "deployments.sqlite"), (insert) => {
    insert(deployments.deploymentEntity, indices(from, to).map(deploymentRows.distantDeploymentRow));
    insert(deployments.replicaEntity, indices(from, to).map(deploymentRows.distantReplicaRow));
  });
}

const indices = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => from + index);

/** What is `Generated` SQLite gives. */
type Insert = <Row extends object, Generated extends keyof Row = never>(
  entity: EntitySchema<Row>,
  rows: readonly Omit<Row, Generated>[],
) => void;

function write(file: string, work: (insert: Insert, database: LibsqlDatabase.Database) => void): void {
  const database = new LibsqlDatabase(file);
  database.exec("BEGIN");
  work((entity, all) => {
    const [first] = all;
    if (!first) return;
    const columns = Object.keys(entity.options.columns).filter((name) => name in first);
    const names = columns.map((name) => `"${name}"`).join(", ");
    const places = columns.map(() => "?").join(", ");
    const statement = database.prepare(`INSERT INTO ${entity.options.name} (${names}) VALUES (${places})`);
    // The columns are the row's properties.
    for (const row of all as readonly Record<string, unknown>[])
      statement.run(...columns.map((column) => stored(row[column])));
  }, database);
  database.exec("COMMIT");
  // Nobody who starts on the file finds all of it in the journal.
  database.pragma("wal_checkpoint(TRUNCATE)");
  database.close();
}

/** A value as the columns' transformers and TypeORM store it. */
function stored(value: unknown): unknown {
  if (typeof value === "boolean") return Number(value);
  return typeof value === "object" && value !== null ? JSON.stringify(value) : value;
}

const openDeployments = (dataDir: string) =>
  openDatabase({
    file: join(dataDir, "deployments.sqlite"),
    entities: deployments.entities,
    migrations: readMigrations(deployments.migrationsFolder),
  });

const EVENTS_AT_ONCE = 1_000;

async function fillEvents(dataDir: string, from: number, to: number): Promise<void> {
  const database = await openDeployments(dataDir);
  const log = createEventLog<DeploymentEventPayload>({
    database,
    schema: deployments.deploymentEvents,
    bus: createInProcessBus(),
  });
  for (let start = from; start < to; start += EVENTS_AT_ONCE) {
    const events = indices(start, Math.min(to, start + EVENTS_AT_ONCE)).map(deploymentRows.newEvent);
    await database.transaction((tx) => log.append(tx, events));
  }
  await database.close();
}

/** Spread over DAYS, by the store: what it keeps beside the records it knows itself. */
async function fillUsage(dataDir: string, count: number): Promise<void> {
  const database = await openDeployments(dataDir);
  const store = createSqlUsageStore(database);
  const each = Math.ceil(count / DAYS);
  for (let day = 0; day < DAYS && count > 0; day += 1) {
    const { id, at, records } = deploymentRows.usageBatch(day, each);
    await store.record(id, records, at);
  }
  await database.close();
}

function fillDocuments(dataDir: string, added: readonly number[]): void {
  const database = new LibsqlDatabase(join(dataDir, "knowledge.sqlite"));
  // A fill that a power cut loses is made again.
  database.pragma("synchronous = OFF");
  const writer = createDocumentWriter(database);
  for (const index of added) writer.insert({ document: rows.newDocument(index), content: rows.contentOf(index) });
  database.pragma("wal_checkpoint(TRUNCATE)");
  database.close();
}
