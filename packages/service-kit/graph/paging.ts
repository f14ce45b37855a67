import { badInput } from "../errors/errors.ts";

export interface PageArguments {
  first?: number | null | undefined;
  after?: string | null | undefined;
  offset?: number | null | undefined;
}

/** A page to fetch: `limit` rows after the row whose id is `afterId` (newest first), or after skipping `offset`. */
export interface Page {
  limit: number;
  afterId: string | null;
  offset: number;
}

/** The parts of a page, each read only when it is asked for. */
export interface Rows<Row> {
  /** One more than the page's limit where there are more. */
  rows(): Promise<Row[]>;
  /** Of all pages. */
  totalCount(): Promise<number>;
}

/** The same page with the rows mapped by `toNode`. */
export function mapRows<Row, Node>({ rows, totalCount }: Rows<Row>, toNode: (row: Row) => Node): Rows<Node> {
  return { rows: async () => (await rows()).map((row) => toNode(row)), totalCount };
}

/** A page of the graph: graphql-js calls the selected parts. */
export interface Connection<Node> {
  edges(): Promise<{ cursor: string; node: Node }[]>;
  pageInfo(): Promise<PageInfo>;
  totalCount(): Promise<number>;
}

interface PageInfo {
  hasNextPage: boolean;
  hasPreviousPage: boolean;
  startCursor: string | null;
  endCursor: string | null;
}

const DEFAULT_PAGE_SIZE = 20;
const MAX_PAGE_SIZE = 100;

/** The content of a list's cursors: an id of `newId`, a whole number, such as a position in a log, or a name of lower-case words. */
export type CursorKind = "id" | "number" | "name";

const CURSORS: Record<CursorKind, RegExp> = {
  id: /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/,
  // Safe as a JavaScript number.
  number: /^(?:0|[1-9]\d{0,14})$/,
  name: /^[a-z0-9]+(?:[._-][a-z0-9]+)*$/,
};
const MAX_CURSOR_LENGTH = 128;

/**
 * Relay's arguments as a page. Cursors hide an id unless the list says otherwise: UUIDv7 sorts by time, so "newest first" is by id, and
 * a page is stable while rows are added.
 * @throws ToolyardError BAD_USER_INPUT also for a cursor that this kind of list does not give: its content goes into statements.
 */
export function parsePage({ first, after, offset }: PageArguments, kind: CursorKind = "id"): Page {
  const limit = first ?? DEFAULT_PAGE_SIZE;
  if (limit < 1 || limit > MAX_PAGE_SIZE)
    throw badInput([{ path: "first", message: `must be from 1 to ${MAX_PAGE_SIZE}` }]);
  if (offset != null && offset < 0) throw badInput([{ path: "offset", message: "must not be negative" }]);
  return { limit, afterId: after == null ? null : decodeCursor(after, kind), offset: offset ?? 0 };
}

/** A connection of a page's rows, which are read once, by the first of its parts that needs them. `idOf` gives the cursor's content. */
export function toConnection<Node>(
  { rows, totalCount }: Rows<Node>,
  page: Page,
  idOf: (node: Node) => string,
): Connection<Node> {
  let reading: Promise<Node[]> | null = null;
  const read = () => (reading ??= rows());
  const edges = async () =>
    (await read()).slice(0, page.limit).map((node) => ({ cursor: encodeCursor(idOf(node)), node }));
  return {
    edges,
    async pageInfo() {
      const shown = await edges();
      return {
        hasNextPage: (await read()).length > page.limit,
        hasPreviousPage: page.afterId !== null || page.offset > 0,
        startCursor: shown[0]?.cursor ?? null,
        endCursor: shown.at(-1)?.cursor ?? null,
      };
    },
    totalCount,
  };
}

/** The page of a list that has nothing in it. @throws ToolyardError BAD_USER_INPUT as `parsePage` */
export function emptyConnection(page: PageArguments): Connection<never> {
  return toConnection<never>({ rows: async () => [], totalCount: async () => 0 }, parsePage(page), String);
}

/** The value of a list's `after` for the place behind this row. */
export function encodeCursor(id: string): string {
  return Buffer.from(`c:${id}`).toString("base64url");
}

function decodeCursor(cursor: string, kind: CursorKind): string {
  const id = cursor.length > MAX_CURSOR_LENGTH ? "" : Buffer.from(cursor, "base64url").toString("utf8").slice(2);
  // Encoded again, since decoding ignores characters that are not base64url and bytes that are not text.
  if (!CURSORS[kind].test(id) || encodeCursor(id) !== cursor)
    throw badInput([{ path: "after", message: "is not a cursor of this list" }]);
  return id;
}
