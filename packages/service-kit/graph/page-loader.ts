import { createLoaderByArguments } from "./loader-by-arguments.ts";
import type { Page, Rows } from "./paging.ts";

/** The same page of many parents, read together; only selected parts are read. */
export type PageLoader<Filter extends object, Row> = (parent: string, filter: Filter, page: Page) => Rows<Row>;

/** Both answer in the order of `parents`. A filter has JSON values. */
export function createPageLoader<Filter extends object, Row>(read: {
  /** One more than the page's limit where there are more. */
  pages: (parents: readonly string[], filter: Filter, page: Page) => Promise<Row[][]>;
  counts: (parents: readonly string[], filter: Filter) => Promise<number[]>;
}): PageLoader<Filter, Row> {
  const pages = createLoaderByArguments(
    (parents, { filter, page }: { filter: Filter; page: Page }) => read.pages(parents, filter, page),
    ({ page }) => page.limit + 1,
  );
  const counts = createLoaderByArguments(read.counts);
  return (parent, filter, page) => ({
    rows: () => pages.load(parent, { filter, page }),
    totalCount: () => counts.load(parent, filter),
  });
}
