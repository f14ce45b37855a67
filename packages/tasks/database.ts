import { join } from "node:path";
import { eventLogSchema } from "@toolyard/events";
import { jobEntity } from "@toolyard/scheduler";
import { column } from "@toolyard/storage";
import { EntitySchema } from "typeorm";
import type { Task } from "./task.ts";

export interface TaskRow extends Omit<Task, "error"> {
  /** JSON; null until SUCCEEDED, and where it is kept apart. */
  result?: unknown;
  /** Where the result is kept apart: see TaskResults. */
  resultId: string | null;
  errorCode: string | null;
  errorMessage: string | null;
  /** QUEUED: not before this (epoch ms). RUNNING: when its lease ends. What a claim orders by. */
  dueAt: number;
  /** One of PRIORITIES. */
  priority: number;
  /** The present run's; null unless RUNNING. */
  leaseId: string | null;
}

/** A user waits for the task; nobody asked for it. The lower one is begun first. */
export const PRIORITIES = [0, 1] as const;

export const taskEntity = new EntitySchema<TaskRow>({
  name: "tasks",
  columns: {
    id: { ...column.primaryId },
    kind: { ...column.name },
    status: { ...column.name },
    progress: { ...column.real },
    message: { ...column.nullableText },
    input: { ...column.nullableJson },
    // Read by who asks for it.
    result: { ...column.nullableJson, select: false },
    resultId: { ...column.nullableId },
    errorCode: { ...column.nullableName },
    errorMessage: { ...column.nullableText },
    attempts: { ...column.integer },
    maxAttempts: { ...column.integer },
    requestedById: { ...column.nullableId },
    toolId: { ...column.nullableId },
    ownerId: { ...column.nullableId },
    cancelRequested: { ...column.flag },
    createdAt: { ...column.time },
    startedAt: { ...column.nullableTime },
    finishedAt: { ...column.nullableTime },
    dueAt: { ...column.time },
    priority: { ...column.integer, default: 0 },
    leaseId: { ...column.nullableId },
  },
  indices: [
    { columns: ["status", "kind", "priority", "dueAt", "id"] },
    { columns: ["kind", "status", "id"] },
    { columns: ["toolId", "id"] },
    { columns: ["toolId", "kind", "id"] },
    { columns: ["toolId", "kind", "status", "id"] },
    { columns: ["finishedAt"] },
  ],
});

export const taskEventSchema = eventLogSchema("task");
export const entities = [taskEntity, taskEventSchema.events, taskEventSchema.counter, jobEntity] as EntitySchema[]; // an EntitySchema of something is one of anything to those who only make tables of it
export const migrationsFolder = join(import.meta.dirname, "migrations");
