import { join } from "node:path";
import { jobEntity } from "@toolyard/scheduler";
import { column } from "@toolyard/storage";
import { EntitySchema } from "typeorm";
import type { Claim, Entry } from "./idempotency-store.ts";

interface IdempotencyRow extends Claim, Entry {
  /** Of the answer. */
  characters: number;
}

export const idempotencyEntity = new EntitySchema<IdempotencyRow>({
  name: "idempotency_keys",
  columns: {
    id: { ...column.primaryId },
    callerId: { ...column.id },
    fingerprint: { ...column.sealed },
    runningUntil: { ...column.time },
    expiresAt: { ...column.time },
    answer: { ...column.nullableSealed },
    characters: { ...column.integer },
  },
  indices: [{ columns: ["callerId", "expiresAt", "characters"] }, { columns: ["expiresAt"] }],
});

export const entities = [idempotencyEntity, jobEntity] as EntitySchema[]; // an EntitySchema of something is one of anything to those who only make tables of it
export const migrationsFolder = join(import.meta.dirname, "migrations");
