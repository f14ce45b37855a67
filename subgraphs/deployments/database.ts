import { join } from "node:path";
import { eventLogSchema } from "@toolyard/events";
import { jobEntity } from "@toolyard/scheduler";
import { DEFAULT_BALANCE } from "@toolyard/routes/balances.ts";
import { column } from "@toolyard/storage";
import { EntitySchema } from "typeorm";
import type { Deployment, Environment, HealthCheck, Replica } from "./deployment.ts";
import { launchText, readLaunch } from "./deploying/deployed-launch.ts";
import type { Host } from "./hosts/host.ts";
import type { InterfaceChange, StoredInterface } from "./interfaces/interface-store.ts";
import type { UsageBucketRow, UsagePartyRow, UsageRecord } from "./usage/usage-record.ts";

export const deploymentEvents = eventLogSchema("deployment");
export const healthEvents = eventLogSchema("health");

/** Of what is to run, which is little of what there ever was. An index is used where a query says this in these words. */
export const TO_RUN = "desired = 'RUN'";

export const deploymentEntity = new EntitySchema<Deployment>({
  name: "deployments",
  columns: {
    id: { ...column.primaryId },
    name: { ...column.name, unique: true },
    toolId: { ...column.id },
    toolSlug: { ...column.name },
    toolVersionId: { ...column.id },
    versionNumber: { ...column.integer },
    ownerId: { ...column.nullableId },
    templateId: { ...column.nullableName },
    digest: { ...column.name },
    environment: { ...column.name },
    runtime: { ...column.name },
    launch: { ...column.launch, transformer: { to: launchText, from: readLaunch } },
    configuration: { ...column.nullableJson },
    sealedConfiguration: { ...column.nullableSealed },
    desired: { ...column.name },
    desiredReplicas: { ...column.integer },
    autoscale: { ...column.nullableJson },
    balance: { ...column.name, default: DEFAULT_BALANCE },
    offerHash: { ...column.nullableName },
    generation: { ...column.integer },
    role: { ...column.name },
    status: { ...column.name },
    health: { ...column.name },
    reason: { ...column.nullableText },
    words: { ...column.nullableText },
    everReady: { ...column.flag },
    trafficWeight: { ...column.integer },
    deployedById: { ...column.nullableId },
    createdAt: { ...column.time },
    deployedAt: { ...column.nullableTime },
    stoppedAt: { ...column.nullableTime },
    lastHealthCheckAt: { ...column.nullableTime },
    settledAt: { ...column.nullableTime },
    revision: { ...column.integer, default: 0 },
  },
  // Each list of the store has one that gives its rows in their order.
  indices: [
    { columns: ["environment", "status", "id"] },
    { columns: ["toolId", "id"] },
    { columns: ["toolId", "environment", "id"] },
    { columns: ["toolId", "environment", "status", "id"] },
    { columns: ["toolId", "desired", "environment", "id"] },
    { columns: ["toolSlug", "desired", "id"] },
    { columns: ["templateId", "id"] },
    { columns: ["id", "templateId"], where: '"templateId" IS NOT NULL' },
    { columns: ["status"] },
    { columns: ["id"], where: TO_RUN },
    { columns: ["toolId", "environment", "role", "id"], where: TO_RUN },
    { columns: ["settledAt", "id", "revision"] },
  ],
});

/** A replica's row; `phase` repeats the state's for queries. */
export interface ReplicaRow extends Replica {
  phase: string;
}

/** Of replicas whose ended processes have folders and logs in their runtime. An index is used where a query says this in these words. */
export const HAS_REMAINS = '"handle" IS NOT NULL OR "previousHandle" IS NOT NULL';

export const replicaEntity = new EntitySchema<ReplicaRow>({
  name: "replicas",
  columns: {
    id: { ...column.primaryId },
    deploymentId: { ...column.id },
    ordinal: { ...column.integer },
    hostId: { ...column.name },
    address: { ...column.name },
    port: { ...column.nullableInteger },
    generation: { ...column.integer },
    incarnation: { ...column.integer },
    phase: { ...column.name },
    state: { ...column.json },
    attempts: { ...column.integer },
    restarts: { ...column.integer },
    handle: { ...column.nullableJson },
    previousHandle: { ...column.nullableJson },
    sealedToken: { ...column.sealed },
    startedAt: { ...column.nullableTime },
    lastProbeAt: { ...column.nullableTime },
  },
  // The port's reservation is the row itself: no two replicas of a host can hold one.
  uniques: [{ columns: ["hostId", "port"] }, { columns: ["deploymentId", "ordinal"] }],
  indices: [{ columns: ["deploymentId"] }, { columns: ["phase", "deploymentId"], where: HAS_REMAINS }],
});

/** A host's process, by its lease. */
export const hostEntity = new EntitySchema<Host>({
  name: "hosts",
  columns: {
    id: { ...column.name, primary: true },
    token: { ...column.time },
    owner: { ...column.name },
    heardAt: { ...column.time },
    leaseUntil: { ...column.time },
    offer: { ...column.json },
  },
});

/** A tool and environment of which nothing is to run any more, and what was the last. */
export interface LastStoppedRow {
  toolId: string;
  environment: Environment;
  deploymentId: string;
}

export const lastStoppedEntity = new EntitySchema<LastStoppedRow>({
  name: "last_stopped",
  columns: {
    toolId: { ...column.primaryId },
    environment: { ...column.name, primary: true },
    deploymentId: { ...column.id },
  },
  indices: [{ columns: ["deploymentId"], unique: true }],
});

export const healthCheckEntity = new EntitySchema<HealthCheck>({
  name: "health_checks",
  columns: {
    id: { ...column.primaryId },
    deploymentId: { ...column.id },
    replicaId: { ...column.nullableId },
    at: { ...column.time },
    status: { ...column.name },
    kind: { ...column.name },
    latencyMs: { ...column.real },
    detail: { ...column.nullableText },
    words: { ...column.nullableText },
  },
  indices: [{ columns: ["deploymentId", "id"] }],
});

export const usageRecordEntity = new EntitySchema<UsageRecord>({
  name: "usage_records",
  columns: {
    id: { ...column.primaryId },
    at: { ...column.time },
    toolId: { ...column.id },
    deploymentId: { ...column.id },
    endpoint: { ...column.name },
    method: { ...column.name },
    mcpMethod: { ...column.nullableName },
    mcpTool: { ...column.nullableName },
    statusCode: { ...column.integer },
    mcpFailure: { ...column.nullableName },
    responseTimeMs: { ...column.real },
    userId: { ...column.nullableId },
  },
  indices: [{ columns: ["toolId", "id"] }, { columns: ["deploymentId", "id"] }],
});

export const usageBatchEntity = new EntitySchema<{ id: string; at: number }>({
  name: "usage_batches",
  columns: { id: { ...column.primaryId }, at: { ...column.time } },
  indices: [{ columns: ["at"] }],
});

export const usageBucketEntity = new EntitySchema<UsageBucketRow>({
  name: "usage_buckets",
  columns: {
    resolutionMs: { ...column.time, primary: true },
    at: { ...column.time, primary: true },
    deploymentId: { ...column.primaryId },
    mcpTool: { ...column.name, primary: true },
    toolId: { ...column.id },
    calls: { ...column.integer },
    errors: { ...column.integer },
    mcpFailures: { ...column.integer, default: 0 },
    histogram: { ...column.json },
  },
  indices: [{ columns: ["toolId", "resolutionMs", "at"] }, { columns: ["deploymentId", "resolutionMs", "at"] }],
});

export const usagePartyEntity = new EntitySchema<UsagePartyRow>({
  name: "usage_parties",
  columns: {
    resolutionMs: { ...column.time, primary: true },
    at: { ...column.time, primary: true },
    deploymentId: { ...column.primaryId },
    party: { ...column.name, primary: true },
    toolId: { ...column.id },
    calls: { ...column.integer },
    errors: { ...column.integer },
    mcpFailures: { ...column.integer },
    histogram: { ...column.json },
  },
  indices: [{ columns: ["toolId", "resolutionMs", "at"] }, { columns: ["deploymentId", "resolutionMs", "at"] }],
});

export const interfaceEntity = new EntitySchema<StoredInterface>({
  name: "interfaces",
  columns: {
    toolId: { ...column.primaryId },
    digest: { ...column.name, primary: true },
    hash: { ...column.name },
    toolsHash: { ...column.nullableName },
    at: { ...column.time },
    deploymentId: { ...column.id },
    content: { ...column.json },
  },
  indices: [{ columns: ["toolId", "at", "digest"] }],
});

export const interfaceChangeEntity = new EntitySchema<InterfaceChange>({
  name: "interface_changes",
  columns: {
    id: { ...column.primaryId },
    toolId: { ...column.id },
    digest: { ...column.name },
    at: { ...column.time },
    deploymentId: { ...column.id },
    difference: { ...column.json },
  },
  indices: [{ columns: ["toolId", "id"] }, { columns: ["toolId", "digest", "id"] }],
});

export const entities: EntitySchema[] = [
  deploymentEntity,
  replicaEntity,
  hostEntity,
  lastStoppedEntity,
  healthCheckEntity,
  usageRecordEntity,
  usageBatchEntity,
  usageBucketEntity,
  usagePartyEntity,
  interfaceEntity,
  interfaceChangeEntity,
  deploymentEvents.events,
  deploymentEvents.counter,
  healthEvents.events,
  healthEvents.counter,
  jobEntity,
];

export const migrationsFolder: string = join(import.meta.dirname, "migrations");
