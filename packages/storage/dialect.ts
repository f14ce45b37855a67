import type { DialectName } from "./migration.ts";
import type { EntityManager, EntitySchema, FindOptionsWhere, ObjectLiteral, SelectQueryBuilder } from "typeorm";

/** The type of a value in the parameter of `Dialect.rows`. */
export type ValueType = "text" | "long-text" | "integer" | "real";

/** Many rows given to a statement as one parameter: the text of a JSON array of arrays. */
export interface GivenRows {
  /** For FROM and JOIN. In `FROM rows CROSS JOIN table ON …` the rows lead. */
  from: string;
  /** The row's place in the array, from 0. */
  index: string;
  /** The value at a place of the row, from 0. */
  at(place: number): string;
}

/** The first rows of each of several parts of a table, such as a page of each tool's deployments. */
interface FirstOfEach {
  table: string;
  /** The table's primary key, of one column. */
  key: string;
  /** Rises with the place of `parts`: the values that tell one part from the others. */
  parts: readonly (readonly string[])[];
  /** The rest of a SELECT on `child`, from WHERE on, with the part's values by their place. It may use parameters of the query. */
  childrenOf(value: (place: number) => string): string;
}

/** In what databases differ. Names in double quotes are identifiers, `?` and `:name` parameters, in each of them. */
export interface Dialect {
  readonly name: DialectName;
  /**
   * The option of a find in a transaction that holds the rows it finds until the end, so that they stay as they were read: where writers run
   * beside each other, what is read without may be changed by others before it is written.
   */
  readonly forUpdate: { lock?: { mode: "pessimistic_write" } };
  /** The same at the end of a SELECT. */
  readonly held: string;
  /** Likewise, but others may hold the rows so beside it: none changes them meanwhile. */
  readonly heldShared: string;
  /** Epoch milliseconds, by the one clock of all processes that share the database. */
  now(manager: EntityManager): Promise<number>;
  /** Holds all transactions that ask for the same name in this database, until the end: for rules about rows that are not there yet, such as a number of them. */
  lock(manager: EntityManager, name: string): Promise<void>;
  rows(parameter: string, alias: string, types: readonly ValueType[]): GivenRows;
  /** Restricts a query to the first rows of each part. */
  whereFirstOfEach<Row extends ObjectLiteral>(query: SelectQueryBuilder<Row>, first: FirstOfEach): void;
  /** The end of an INSERT that replaces `columns` of rows whose `keys` are there. */
  onDuplicate(keys: readonly string[], columns: readonly string[]): string;
  /** An UPDATE of a table by given rows. Conditions and values are expressions. */
  updateFrom(update: {
    table: string;
    from: string;
    on: string;
    set: readonly [column: string, value: string][];
  }): string;
  /** A condition's column in a form for which no index of it is chosen. */
  unindexed(column: string): string;
  /** Deletes at most `limit` rows that match. @returns how many */
  deleteSome<Row extends ObjectLiteral>(
    manager: EntityManager,
    entity: EntitySchema<Row>,
    where: FindOptionsWhere<Row>,
    limit: number,
  ): Promise<number>;
  /** The rows of a condition with `?`, as the columns are, in parts whose reading holds the event loop for some milliseconds only. */
  readInParts(
    manager: EntityManager,
    read: { table: string; where: string; parameters: readonly unknown[] },
  ): AsyncGenerator<ObjectLiteral[]>;
}
