export {
  sqlTransaction,
  type Database,
  type DatabaseOptions,
  type SqlTransaction,
  type Transaction,
} from "./database.ts";
export { openDatabase } from "./open-database.ts";
export {
  ASIDE,
  COPY_ID,
  openStore,
  refuseMoved,
  requireSameKey,
  storeOptions,
  type StorePlace,
  type StoreTables,
} from "./open-store.ts";
export type { Dialect } from "./dialect.ts";
export { dialectOf } from "./dialects.ts";
export { databaseFailureOf, type DatabaseFailure } from "./failures.ts";
export { lockFolder } from "./folder-lock.ts";
export { createSharedClock, timeOf } from "./shared-clock.ts";
export { createOutageLog } from "./outage-log.ts";
export { readMigrations } from "./migration.ts";
export { deleteInChunks, inChunks, type LongWork } from "./chunks.ts";
export { CHUNK_ROWS, partsOf } from "./parts.ts";
export { column } from "./columns.ts";
export { observeStatements, type ObservedStatement } from "./observed-statements.ts";
export { readPage } from "./paging.ts";
export { countByParent, readPageOfParts, readPagesByParent, type ChildRows } from "./pages-by-parent.ts";
export { createGroupCommit } from "./group-commit.ts";
export { holdRows, insertIfAbsent, insertRows, updateColumn, updateRows } from "./writes.ts";
