export { openDatabase, type Database, type DatabaseOptions, type Transaction } from "./database.ts";
export { lockFolder } from "./folder-lock.ts";
export { readMigrations } from "./migration.ts";
export { CHUNK_ROWS, deleteInChunks, inChunks, partsOf, type LongWork } from "./chunks.ts";
export { column } from "./columns.ts";
export { observeStatements, type ObservedStatement } from "./observed-statements.ts";
export { readPage } from "./paging.ts";
export { countByParent, readPageOfParts, readPagesByParent, type ChildRows } from "./pages-by-parent.ts";
