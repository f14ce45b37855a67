import { createEventLog, createEventTail, createInProcessBus } from "@toolyard/events";
import { createLogger, createSealer } from "@toolyard/service-kit";
import { openDatabase, readMigrations, type ObservedStatement } from "@toolyard/storage";
import { deploymentEvents, entities, healthEvents, migrationsFolder } from "../database.ts";
import { deploymentOf } from "../deployment-fixture.ts";
import type { Deployment, DeploymentEventPayload, Environment, HealthEventPayload } from "../deployment.ts";
import { createSqlDeploymentStore } from "../store/deployment-store.sql.ts";
import type { DeploymentStore } from "../store/deployment-store.ts";
import { createReplicaChanges, type ReplicaChanges } from "../engine/replica-changes.ts";
import { saveSettled } from "../engine/settle.ts";
import type { ReplicaEvent } from "../engine/transitions.ts";
import { launchSchema } from "@toolyard/launch";
import { newReplica, newToken } from "../deploying/new-replica.ts";
import { createRouteBuilder } from "./route-builder.ts";
import { createRouteFeed, type RouteFeed } from "./route-feed.ts";
import { createSqlRouteStore } from "./route-store.sql.ts";

const sealer = createSealer({ secretKey: "a-secret-key-of-at-least-32-characters" });
const MIGRATIONS = readMigrations(migrationsFolder);

/** A store with the feed of its routes, and what happens to deployments, without the processes that it happens to. */
export interface RouteFixture {
  store: DeploymentStore;
  changes: ReplicaChanges;
  feed: RouteFeed;
  /** Of another process on the same store. */
  anotherFeed(): RouteFeed;
  latest(): Promise<number>;
  /** Of the event log all that there is. */
  trim(): Promise<unknown>;
  deploy(toolId: string, environment?: Environment, launch?: Deployment["launch"]): Promise<Deployment>;
  /** Starts its replica, and lets it answer. */
  run(deployment: Deployment): Promise<void>;
  happen(deployment: Deployment, event: ReplicaEvent): Promise<void>;
  stop(deployment: Deployment): Promise<void>;
  /** How SQLite would perform it. */
  explain(statement: Pick<ObservedStatement, "sql" | "parameters"> | undefined): Promise<string[]>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** @param options.file Of the database; in memory unless given. */
export async function createRouteFixture(options: { stoppedRoutes: number; file?: string }): Promise<RouteFixture> {
  const { stoppedRoutes, file = ":memory:" } = options;
  const database = await openDatabase({ file, entities, migrations: MIGRATIONS });
  const bus = createInProcessBus({ isOnlyWriter: true });
  const log = createEventLog<DeploymentEventPayload>({ database, schema: deploymentEvents, bus });
  const health = createEventLog<HealthEventPayload>({ database, schema: healthEvents, bus });
  const logger = createLogger({ level: "silent", name: "test" });
  const tail = createEventTail({ log, bus, logger });
  const store = createSqlDeploymentStore({ database, events: log, health });
  const changes = createReplicaChanges({ store, now: Date.now, random: () => 0 });
  const routes = createSqlRouteStore(database);
  const newFeed = () =>
    createRouteFeed({
      builder: createRouteBuilder({ store, routes, sealer, stoppedRoutes, logger }),
      log,
      tail,
      sessionKey: "session-key-session-key",
    });

  async function happen(deployment: Deployment, event: ReplicaEvent): Promise<void> {
    const [replica] = await store.replicasOf([deployment.id]);
    if (!replica) return;
    const handle = {
      runtime: "MOCK" as const,
      name: replica.id,
      identity: {},
      endpoint: { url: "http://127.0.0.1:9", owner: null },
    };
    const set = () => (event.type === "start" ? { handle, sealedToken: newToken(sealer, replica.id) } : {});
    await changes.apply({ deploymentId: deployment.id, replicaId: replica.id, event, set });
  }

  return {
    store,
    changes,
    feed: newFeed(),
    anotherFeed: newFeed,
    latest: () => log.latest(),
    trim: () => log.trim(Date.now() + 1),
    async deploy(toolId, environment = "PRODUCTION", launch = launchSchema.parse({ kind: "stdio", command: "x" })) {
      const deployment = deploymentOf({ toolId, toolSlug: toolId, environment, launch, createdAt: Date.now() });
      return store.transaction(async (tx) => {
        const role = (await tx.hasActive(toolId, environment)) ? "PENDING" : "ACTIVE";
        const made: Deployment = { ...deployment, role };
        await tx.insertDeployment(made);
        const replica = newReplica({
          deployment,
          ordinal: 0,
          place: { hostId: "h", address: "127.0.0.1", port: null },
        });
        await tx.insertReplica(replica);
        const event = { kind: "DEPLOYED", message: "It was deployed." };
        return (await saveSettled(tx, { deployment: made, replicas: [replica] }, Date.now(), [event])).deployment;
      });
    },
    async run(deployment) {
      await happen(deployment, { type: "start", generation: 1 });
      await happen(deployment, { type: "answered" });
    },
    happen,
    async stop({ id }) {
      await store.transaction(async (tx) => {
        const record = await tx.load(id);
        if (record?.deployment.desired !== "RUN") return;
        const stopped = { ...record, deployment: { ...record.deployment, desired: "STOP" as const } };
        await saveSettled(tx, stopped, Date.now(), [{ kind: "STOP_REQUESTED", message: "It was asked to stop." }]);
      });
    },
    async explain({ sql, parameters } = { sql: "SELECT 1", parameters: [] }) {
      const rows = await database.read.query<{ detail: string }[]>(`EXPLAIN QUERY PLAN ${sql}`, [...parameters]);
      return rows.map(({ detail }) => detail);
    },
    async [Symbol.asyncDispose]() {
      tail.close();
      await database.close();
    },
  };
}
