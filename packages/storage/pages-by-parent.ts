import type { Page } from "@toolyard/service-kit";
import type { ObjectLiteral, Repository } from "typeorm";
import { dialectOf } from "./dialects.ts";

/** Values of some columns; undefined matches any. */
type Values<Row> = { [Column in keyof Row]?: Row[Column] | undefined };

/** Rows that belong to others by a column: a tool's deployments, a deployment's events. */
export interface ChildRows<Row> {
  /** The column that names the parent. */
  parentColumn: string & keyof Row;
  /** The column that orders pages, newest first; the primary key unless given. Unique within a parent. */
  orderColumn?: string & keyof Row;
  /** Only rows with these values. With an index on the parent, these and the order, no other row is read. */
  where?: Values<Row>;
}

/** Rows that one statement skips, so that it holds the event loop for some milliseconds only. */
const MAX_SKIPPED = 5_000;

/**
 * A page of each parent in one statement, in the order of `parents`: at most `page.limit + 1` rows each, newest first. It reads a page of
 * each by the index and nothing else, however many rows a parent has, where a window function would read them all.
 */
export async function readPagesByParent<Row extends ObjectLiteral>(
  repository: Repository<Row>,
  parents: readonly string[],
  page: Page,
  options: ChildRows<Row>,
): Promise<Row[][]> {
  const key = primaryKeyOf(repository);
  const { parentColumn, orderColumn = key } = options;
  const { conditions, parameters } = conditionsOf(options);
  if (page.afterId !== null) conditions.push(`child."${orderColumn}" < :afterId`);
  const query = repository
    .createQueryBuilder("found")
    .setParameters({ ...parameters, afterId: page.afterId, limit: page.limit + 1, offset: page.offset });
  dialectOf(repository.manager).whereFirstOfEach(query, {
    table: repository.metadata.tableName,
    key,
    parts: parents.map((parent) => [parent]),
    childrenOf: (value) =>
      `WHERE ${[`child."${parentColumn}" = ${value(0)}`, ...conditions].join(" AND ")} ORDER BY child."${orderColumn}" DESC LIMIT :limit OFFSET :offset`,
  });
  const rows = await query.getMany();
  const byParent = Map.groupBy(rows, (row) => row[parentColumn]);
  const newestFirst = (a: Row, b: Row) => (a[orderColumn] < b[orderColumn] ? 1 : -1);
  return parents.map((parent) => (byParent.get(parent as Row[typeof parentColumn]) ?? []).toSorted(newestFirst));
}

/**
 * The page of all rows that have one of several values in some columns, such as any status but one, newest first: it reads as many as the page
 * has of each combination, by an index on those columns and the primary key, and nothing else.
 */
export async function readPageOfParts<Row extends ObjectLiteral>(
  repository: Repository<Row>,
  page: Page,
  options: { parts: Partial<Record<string & keyof Row, readonly string[]>>; where?: Values<Row> },
): Promise<Row[]> {
  const key = primaryKeyOf(repository);
  const columns = Object.keys(options.parts);
  const { conditions, parameters } = conditionsOf(options);
  const isOfPart = (value: (place: number) => string) =>
    columns.map((column, place) => `child."${column}" = ${value(place)}`);
  const parts = combinationsOf(columns.map((column) => options.parts[column] ?? []));
  const ofParts = ({ limit, afterId, offset }: Page) => {
    const query = repository
      .createQueryBuilder("found")
      .setParameters({ ...parameters, afterId, most: offset + limit })
      .orderBy(`found.${key}`, "DESC")
      .limit(limit)
      .offset(offset);
    const after = afterId === null ? [] : [`child."${key}" < :afterId`];
    dialectOf(repository.manager).whereFirstOfEach(query, {
      table: repository.metadata.tableName,
      key,
      parts,
      childrenOf: (value) =>
        `WHERE ${[...isOfPart(value), ...conditions, ...after].join(" AND ")} ORDER BY child."${key}" DESC LIMIT :most`,
    });
    return query;
  };
  let { afterId, offset } = page;
  for (; offset > MAX_SKIPPED; offset -= MAX_SKIPPED) {
    const skipped = ofParts({ limit: 1, afterId, offset: MAX_SKIPPED - 1 }).select(`found.${key}`, "key");
    const last = await skipped.getRawOne<{ key: string }>();
    if (!last) return [];
    afterId = last.key;
  }
  return ofParts({ limit: page.limit + 1, afterId, offset }).getMany();
}

/** How many rows each parent has, in one statement, in the order of `parents`. */
export async function countByParent<Row extends ObjectLiteral>(
  repository: Repository<Row>,
  parents: readonly string[],
  options: Omit<ChildRows<Row>, "orderColumn">,
): Promise<number[]> {
  const { parentColumn } = options;
  const { conditions, parameters } = conditionsOf(options);
  const given = dialectOf(repository.manager).rows(":parents", "parent", ["text"]);
  const rows = await repository
    .createQueryBuilder("child")
    .select(`child."${parentColumn}"`, "parent")
    .addSelect("COUNT(*)", "count")
    .where([`child."${parentColumn}" IN (SELECT ${given.at(0)} FROM ${given.from})`, ...conditions].join(" AND "), {
      ...parameters,
      parents: JSON.stringify(parents.map((parent) => [parent])),
    })
    .groupBy(`child."${parentColumn}"`)
    .getRawMany<{ parent: string; count: number }>();
  const counts = new Map(rows.map(({ parent, count }) => [parent, Number(count)]));
  return parents.map((parent) => counts.get(parent) ?? 0);
}

/** Each of the first list's values with each of the others'. */
function combinationsOf(lists: readonly (readonly string[])[]): string[][] {
  return lists.reduce<string[][]>(
    (made, values) => made.flatMap((one) => values.map((value) => [...one, value])),
    [[]],
  );
}

function primaryKeyOf<Row extends ObjectLiteral>({ metadata }: Repository<Row>): string & keyof Row {
  const [key, ...others] = metadata.primaryColumns;
  if (!key || others.length > 0) throw new Error(`${metadata.tableName} has no primary key of one column.`);
  return key.propertyName;
}

function conditionsOf<Row>({ where = {} }: { where?: Values<Row> }): {
  conditions: string[];
  parameters: Record<string, unknown>;
} {
  const given = Object.entries(where).filter(([, value]) => value !== undefined);
  return {
    conditions: given.map(([column]) => `child."${column}" = :where_${column}`),
    parameters: Object.fromEntries(given.map(([column, value]) => [`where_${column}`, value])),
  };
}
