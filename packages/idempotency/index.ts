export { createIdempotency, isKept, type Idempotency, type KeptAnswer } from "./idempotency.ts";
export { createMemoryIdempotencyStore } from "./idempotency-store.memory.ts";
export { openSqlIdempotencyStore } from "./idempotency-store.sql.ts";
export type { IdempotencyStore } from "./idempotency-store.ts";
