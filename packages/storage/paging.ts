import type { Page } from "@toolyard/service-kit";
import type { ObjectLiteral, SelectQueryBuilder } from "typeorm";

/**
 * Rows of a page, newest first by `id` (UUIDv7), one more than `page.limit`, and the count of all. `query` already has its
 * conditions; `alias` is its main alias.
 */
export async function readPage<Row extends ObjectLiteral>(
  query: SelectQueryBuilder<Row>,
  page: Page,
  options: { idColumn?: string } = {},
): Promise<{ rows: Row[]; totalCount: number }> {
  const id = `${query.alias}.${options.idColumn ?? "id"}`;
  const totalCount = await query.clone().getCount();
  const paged = query
    .clone()
    .orderBy(id, "DESC")
    .limit(page.limit + 1)
    .offset(page.offset);
  if (page.afterId !== null) paged.andWhere(`${id} < :pageAfterId`, { pageAfterId: page.afterId });
  return { rows: await paged.getMany(), totalCount };
}
