export { openDatabase, type Database, type DatabaseOptions, type Transaction } from "./database.ts";
export { readMigrations, type Migration } from "./migration.ts";
export { column } from "./columns.ts";
export { readPage } from "./paging.ts";
