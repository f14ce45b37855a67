import type { Page, Rows } from "@toolyard/service-kit";
import type { ObjectLiteral, SelectQueryBuilder } from "typeorm";

/** The page of a list, newest first by `id` (UUIDv7), or by another column, `alias.column`. `query` already has its conditions. */
export function readPage<Row extends ObjectLiteral>(
  query: SelectQueryBuilder<Row>,
  page: Page,
  id = `${query.alias}.id`,
): Rows<Row> {
  return {
    rows() {
      const paged = query
        .clone()
        .orderBy(id, "DESC")
        .limit(page.limit + 1)
        .offset(page.offset);
      if (page.afterId !== null) paged.andWhere(`${id} < :pageAfterId`, { pageAfterId: page.afterId });
      return paged.getMany();
    },
    async totalCount() {
      // TypeORM counts `1`, for which SQLite reads each entry; only `*` makes it add up the pages of an index.
      const found = await query.clone().select("COUNT(*)", "count").getRawOne<{ count: number | string }>();
      return Number(found?.count ?? 0);
    },
  };
}
