import type { EntityManager, EntitySchema, ObjectLiteral, QueryDeepPartialEntity } from "typeorm";
import type { ColumnMetadata } from "typeorm/metadata/ColumnMetadata.js";
import type { ValueType } from "./dialect.ts";
import { dialectOf } from "./dialects.ts";
import { databaseFailureOf } from "./failures.ts";

/**
 * Inserts a row unless another has one of its unique values, also one that is committed at this moment: only the database knows. It does
 * nothing then, and the transaction goes on.
 * @returns whether it was inserted
 */
export async function insertIfAbsent<Row extends ObjectLiteral>(
  manager: EntityManager,
  entity: EntitySchema<Row>,
  row: Row,
): Promise<boolean> {
  try {
    // TypeORM's types see a deep partial in every JSON column; the values are whole.
    await manager.getRepository(entity).insert(row as QueryDeepPartialEntity<Row>);
    return true;
  } catch (error) {
    if (databaseFailureOf(error) === "unique-violation") return false;
    throw error;
  }
}

/** Inserts any number of rows by one statement with one parameter. `replace`: rows whose primary keys are there get these values. */
export async function insertRows<Row extends ObjectLiteral>(
  manager: EntityManager,
  entity: EntitySchema<Row>,
  rows: readonly Row[],
  { replace = false }: { replace?: boolean } = {},
): Promise<void> {
  if (rows.length === 0) return;
  const dialect = dialectOf(manager);
  const { columns, tableName } = manager.getRepository(entity).metadata;
  const given = dialect.rows("?", "k", columns.map(typeOf));
  const names = columns.map(({ databaseName }) => databaseName);
  const isKey = (column: ColumnMetadata) => column.isPrimary;
  const keys = columns.filter(isKey).map(({ databaseName }) => databaseName);
  const others = columns.filter((column) => !isKey(column)).map(({ databaseName }) => databaseName);
  await manager.query(
    // WHERE: else SQLite takes ON CONFLICT for a join's condition.
    `INSERT INTO "${tableName}" (${names.map((name) => `"${name}"`).join(", ")})
     SELECT ${names.map((_, place) => given.at(place)).join(", ")} FROM ${given.from} WHERE true ${replace ? dialect.onDuplicate(keys, others) : ""}`,
    [JSON.stringify(rows.map((row) => columns.map((column) => column.getEntityValue(row, true) as unknown)))],
  );
}

/** Sets one column of any number of rows by one statement, by their primary key. `onlyHigher`: where it is lower, or null. */
export async function updateColumn<Row extends ObjectLiteral>(
  manager: EntityManager,
  entity: EntitySchema<Row>,
  column: string & keyof Row,
  values: ReadonlyMap<string, number>,
  { onlyHigher = false }: { onlyHigher?: boolean } = {},
): Promise<void> {
  if (values.size === 0) return;
  const dialect = dialectOf(manager);
  const { tableName, primaryColumns } = manager.getRepository(entity).metadata;
  const given = dialect.rows("?", "k", ["text", "integer"]);
  const stored = `"${tableName}"."${column}"`;
  const sql = dialect.updateFrom({
    table: tableName,
    from: given.from,
    on: `"${tableName}"."${primaryColumns[0]?.databaseName}" = ${given.at(0)}${onlyHigher ? ` AND coalesce(${stored}, 0) < ${given.at(1)}` : ""}`,
    set: [[column, given.at(1)]],
  });
  await manager.query(sql, [JSON.stringify([...values])]);
}

/** Sets some columns of any number of rows by one statement, by their primary key of one column. */
export async function updateRows<Row extends ObjectLiteral>(
  manager: EntityManager,
  entity: EntitySchema<Row>,
  names: readonly (string & keyof Row)[],
  rows: readonly Row[],
): Promise<void> {
  if (rows.length === 0) return;
  const dialect = dialectOf(manager);
  const { tableName, primaryColumns, columns } = manager.getRepository(entity).metadata;
  const set = columns.filter(({ propertyName }) => names.includes(propertyName));
  const given = [...primaryColumns, ...set];
  const from = dialect.rows("?", "k", given.map(typeOf));
  const sql = dialect.updateFrom({
    table: tableName,
    from: from.from,
    on: `"${tableName}"."${primaryColumns[0]?.databaseName}" = ${from.at(0)}`,
    set: set.map(({ databaseName }, index) => [databaseName, from.at(primaryColumns.length + index)]),
  });
  await manager.query(sql, [
    JSON.stringify(rows.map((row) => given.map((column) => column.getEntityValue(row, true) as unknown))),
  ]);
}

/** The rows with these primary keys (of one column), held until the transaction ends. By one statement of one text, without TypeORM's mapping of results. */
export async function holdRows<Row extends ObjectLiteral>(
  manager: EntityManager,
  entity: EntitySchema<Row>,
  keys: Iterable<string>,
): Promise<Row[]> {
  const wanted = [...new Set(keys)];
  if (wanted.length === 0) return [];
  const dialect = dialectOf(manager);
  const { tableName, primaryColumns, columns } = manager.getRepository(entity).metadata;
  const read = columns.filter(({ isSelect }) => isSelect);
  const given = dialect.rows("?", "k", ["text"]);
  const found = await manager.query<ObjectLiteral[]>(
    `SELECT ${read.map(({ databaseName }) => `"${tableName}"."${databaseName}"`).join(", ")} FROM ${given.from} CROSS JOIN "${tableName}" ON "${tableName}"."${primaryColumns[0]?.databaseName}" = ${given.at(0)} ${dialect.held}`,
    // In one order, so that two transactions do not wait for each other.
    [JSON.stringify(wanted.toSorted().map((key) => [key]))],
  );
  const { driver } = manager.dataSource;
  return found.map((raw) => {
    const row: ObjectLiteral = {};
    for (const column of read)
      row[column.propertyName] = driver.prepareHydratedValue(raw[column.databaseName], column) as unknown;
    return row as Row; // with all columns that a find reads
  });
}

function typeOf({ type }: ColumnMetadata): ValueType {
  if (type === "bigint" || type === "integer" || type === "boolean") return "integer";
  if (type === "double") return "real";
  return type === "varchar" ? "text" : "long-text";
}
